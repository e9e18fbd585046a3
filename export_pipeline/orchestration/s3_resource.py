"""The store's S3 clients as a Dagster resource: dagster-aws' `S3Resource` with the store's own settings.

Imported only where the store is in S3, because dagster-aws imports boto3.
"""

from typing import Any

from dagster_aws.s3 import S3Resource

from export_pipeline.store.s3_client import ClientFactory, new_client


class StoreS3Resource(S3Resource):
    """An `S3Resource` whose clients have the timeouts, retries and checksum setting of the store.

    `S3Resource` has no field for them, and makes clients of one endpoint only: links may need another.

    Attributes:
        checksums: False for a server that rejects checksum headers.
    """

    checksums: bool = True

    def get_client(self) -> Any:
        """Return a new boto3 S3 client for the resource's endpoint."""
        return self._new_client(self.endpoint_url, transfers=True)

    def client_for(self, endpoint_url: str | None) -> Any:
        """Return a new client of the store for an endpoint; None means Amazon's own."""
        return self._new_client(endpoint_url, transfers=False)

    def _new_client(self, endpoint_url: str | None, *, transfers: bool) -> Any:
        return new_client(
            endpoint_url,
            checksums=self.checksums,
            max_attempts=self.max_attempts,
            profile_name=self.profile_name,
            signed=not self.use_unsigned_session,
            region_name=self.region_name,
            use_ssl=self.use_ssl,
            verify=self.verify,
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            aws_session_token=self.aws_session_token,
            transfers=transfers,
        )

    def get_object_to_set_on_execution_context(self) -> Any:
        """Return the resource itself: a client takes 0.1 s, and most ticks of sensors need none."""
        return self


def client_factory(s3: Any) -> ClientFactory:
    """Return the factory of the store's clients.

    Args:
        s3: The resource `s3`: a `StoreS3Resource`, or the client of another one that replaces it, such as
            an `S3Resource` or a fake. That client then signs the links too, whatever the public endpoint is.
    """
    return s3.client_for if isinstance(s3, StoreS3Resource) else lambda _: s3
