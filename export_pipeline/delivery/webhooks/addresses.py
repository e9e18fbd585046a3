"""Addresses that webhooks may go to.

A tenant chooses the URL, so it must not reach into the network of this machine. A host is resolved once; the
connection goes to an address that was checked, so a second answer of the DNS changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], list[str]]

_MAX_URL = 2_000
_PORTS = {"https": 443, "http": 80}
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_SPECIAL = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20"))
)
"""Networks of protocols and documents, which the versions of Python do not judge alike.

Teredo and 6to4 addresses hold an IPv4 address, which a gateway may reach.
"""


class WebhookAddressError(ValueError):
    """Raised when a webhook may not go to a URL. The message does not tell what is in our network."""


@dataclass(frozen=True, slots=True)
class AddressRules:
    """The addresses that a deployment allows.

    Attributes:
        networks: Networks that are allowed though they are not public.
        http: Allow http:// beside https://.
    """

    networks: Sequence[Network] = ()
    http: bool = False

    def is_allowed(self, address: str) -> bool:
        """Return whether a webhook may connect to an IP address."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if any(ip in network for network in self.networks):
            return True
        if any(ip in network for network in _SPECIAL):
            return False
        if isinstance(ip, ipaddress.IPv6Address):
            return ip in _GLOBAL_UNICAST and ip.is_global
        return ip.is_global and not ip.is_multicast and not ip.is_reserved


def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host, as the system resolves it.

    Raises:
        OSError: it has none.
    """
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


def parse_url(url: str, rules: AddressRules) -> httpx.URL:
    """Return a webhook's URL, parsed by the library that will connect to it.

    Raises:
        WebhookAddressError: it is not a URL that a webhook may have.
    """
    import httpx  # 5 MB, and most processes read no webhook's URL

    if len(url) > _MAX_URL:
        raise WebhookAddressError(f"A webhook's URL has at most {_MAX_URL:,} characters.")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise WebhookAddressError(f"The webhook's URL cannot be read: {error}.") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise WebhookAddressError("A webhook's URL begins with https:// and a host.")
    if parsed.scheme == "http" and not rules.http:
        raise WebhookAddressError("A webhook's URL begins with https://; EXPORT_WEBHOOK_HTTP allows http://.")
    if not 0 < port_of(parsed) < 65_536:
        raise WebhookAddressError("The port of a webhook's URL is from 1 to 65535.")
    if parsed.userinfo:
        raise WebhookAddressError(
            "A webhook's URL holds no user and no password; the signature proves who sends."
        )
    if parsed.fragment:
        raise WebhookAddressError("A webhook's URL holds no fragment (#…).")
    return parsed


def checked_addresses(url: httpx.URL, rules: AddressRules, resolve: Resolve = resolve) -> list[str]:
    """Return the IP addresses of a URL's host. The caller connects to one of these, without the name.

    Raises:
        WebhookAddressError: the host has no address, or one that is not allowed.
    """
    try:
        addresses = resolve(url.raw_host.decode("ascii"), port_of(url))
    except (OSError, UnicodeError):
        addresses = []
    # One message for both: the names of our network stay unknown.
    if not addresses or not all(map(rules.is_allowed, addresses)):
        raise WebhookAddressError(
            f"{url.host} has no public address; EXPORT_WEBHOOK_NETWORKS allows networks of your own."
        )
    return addresses


def port_of(url: httpx.URL) -> int:
    """Return the port that a URL names, or its scheme's."""
    return _PORTS[url.scheme] if url.port is None else url.port
