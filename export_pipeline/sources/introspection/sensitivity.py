"""Detects columns that hold a secret or personal data, by the words of their names.

The vocabulary follows those of detect-secrets (KeywordDetector), Rails (`filter_parameters`), Django (its
cleansed settings), Sentry (event scrubber) and piicatcher, and the schemas of a dozen applications; see the
tests. In doubt a column counts as a secret: one line in the YAML exposes it, but a file cannot be recalled.

Names are split into words at changes of case, digits and signs. A term is one word or several joined
ones: `apikey` matches `api_key`, `apiKey` and `user_apikey_hash`; `pin` matches `user_pin`, but neither
`pinned` nor `spin`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

from export_pipeline.sources.table_names import bare_table


def _terms(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STEMS = (
    *("passw", "passphrase", "passcode", "passkey", "secret", "token", "credential", "apikey", "privatekey"),
    *("privkey", "encrypted", "sessionid", "sessionkey", "creditcard"),
    # German, French, Spanish, Portuguese, Dutch, Swedish, Danish, Finnish, Hungarian
    *("kennwort", "motdepasse", "contrasen", "palavrapasse", "wachtwoord", "losenord", "adgangskode"),
    *("salasana", "geheim", "jelszo"),
)  # fmt: skip
"""Parts of which a compound word may consist: `authpassphrase`, `accesstoken`."""
_INNOCENT = ("secretar", "tokeniz", "passwordless")

_TERMS = _terms(
    """
    pwd pswd psw passwd mdp senha haslo heslo sifre parola parole clavesecreta claveacceso lozinka
    userpass dbpass databasepass keypass passhash pwdhash pwhash passhint walletkey appkey authkey
    authenticationkey servicekey applicationkey accountkey dbkey databasekey clientkey accesskey
    masterkey encryptionkey encryptkey decryptionkey cryptkey signingkey signkey sshkey sharedkey
    presharedkey psk licensekey licencekey activationkey consumerkey deploykey storagekey aeskey rsakey
    hmackey keymaterial keydata keyauth hmac otp totp hotp backupcode backupcodes recoverycode
    recoverycodes scratchcode scratchcodes verificationcode confirmationcode activationcode resetcode
    resetkey authcode authorizationcode accesscode securitycode logincode smscode unlockcode oauthcode
    codeverifier magiclink loginlink resetlink pin pincode puk secondfactor twofactor mfa validationhash
    sessid phpsessid sessdata sessiondata sessionstate cookie cookies csrf xsrf jwt bearer authorization
    httpauth basicauth authdata authconfig pem pfx pkcs keystore clientcert ccnumber ccnum ccno
    cardnumber cardno cardnum cvv cvc csc cvn kreditkarte kreditkartennummer cartebancaire
    tarjetacredito securityanswer securityquestion mnemonic seedphrase recoveryphrase dsn
    connectionstring connectionuri databaseurl dburl webhookurl snmpcommunity developerkey devkey nonce
    confirmationkey invitekey invitationkey samlresponse samlassertion
    """
)
_LAST_TERMS = frozenset(
    ("pass", "salt", "pepper", "auth", "pw", "crypt", "cipher", "cred", "creds", "clave", "sid")
)
_WHOLE_TERMS = frozenset(("session", "pan", "ha"))  # "ha1" of HTTP digest
_NUMBER_TERMS = _terms(
    """
    pin pincode puk otp totp cvv cvc csc cvn passcode password passwort accesscode securitycode
    verificationcode creditcard creditcardnumber creditcardno ccnumber ccnum ccno cardnumber cardno
    cardnum
    """
)
"""Secrets that may be stored as numbers; a `token_count` is not a secret."""
_FOREIGN = ("пароль", "токен", "секрет", "密码", "密碼", "口令", "パスワード", "暗証番号", "비밀번호", "암호")
_FACTS = _terms(
    """
    type types kind policy algorithm algo method strength status state count counts length size
    expiry expires expiration required enabled name format mode provider
    """
)
"""Last words of names that describe a secret but do not contain it: `token_type`."""

_BAGS = frozenset(
    ("config", "configuration", "settings", "setting", "connection", "auth", "integration", "env")
)
_OPTION_TABLES = _terms(
    """
    setting settings config configs configuration configurations option options preference
    preferences variable variables parameter parameters usermeta
    """
)
_OPTION_STEMS = ("config", "setting", "preference", "meta")
_ATTRIBUTES = frozenset(("attribute", "attributes"))
_OPTION_OWNERS = frozenset(("client", "realm", "device", "host", "server"))
_RECORD_TERMS = _terms(
    """
    objectchanges auditedchanges changedfields changeddata changestext rowdata serializeddata additionaldata
    objectjson objectjsonrepr oldvalue oldvalues newvalue newvalues previousvalue previousvalues priorvalue
    oldvaluetext newvaluetext oldvaluechar newvaluechar olddata newdata oldrow newrow oldrecord newrecord
    requestheaders responseheaders requestbody responsebody requestdata responsedata requestpayload
    responsepayload requestparams clientquery extradata
    """
)
"""Records of changes or messages in whole: `versions.object_changes` holds earlier passwords, too."""
_RECORD_TABLES = _terms(
    """
    history histories audit audits auditlog version versions revision revisions changelog journal journals
    log logs logentry auditlogentry
    """
)
_EVENT_TABLES = _terms("event events activity activities identity identities authidentity")
_RECORD_BAGS = _terms(
    """
    object changes changeset diff delta data payload detailsjson headers modifications properties
    representation
    """
)
_RECORD_CELLS = frozenset(("details", "value", "before", "after", "snapshot", *_RECORD_BAGS))
_SECRET_CELLS = frozenset(("key", "value", "hash", "data", "code", "digest", "payload", "content", "body"))

_PERSONAL_TERMS = _terms(
    """
    displayname email emails emailaddress mailaddress courriel correo firstname fname lastname lname
    surname givenname familyname middlename maidenname fullname nickname realname legalname birthname
    contactname mname mothersname fathersname guardiansname vorname nachname familienname prenom
    nomfamille nomdefamille apellido apellidos cognome sobrenome voornaam achternaam username userlogin
    loginname phone phones phonenumber telephone tel telno telefon telefonnummer telefono telefone
    mobile mobilenumber cell cellphone fax msisdn whatsapp handy handynr handynummer guardianphone birth
    birthday birthdate birthyear birthplace dob guardianaddress dateofbirth placeofbirth geburtsdatum
    geburtstag geburtsort naissance datenaissance nacimiento nascita geboortedatum deathdate dateofdeath
    gender nationality citizenship ethnicity religion maritalstatus staatsangehoerigkeit address addr
    street streetaddress addressline adresse anschrift direccion indirizzo endereco strasse rue
    housenumber hausnummer zip zipcode postcode postalcode plz codepostal pobox ssn socialsecurity
    socialsecuritynumber nationalid nationalinsurance nino taxid taxnumber taxno taxpayerid tin vatid
    vatnumber steuernummer steuerid nif dni cpf curp bsn pesel personnummer codicefiscale passport
    passportnumber driverlicense driverslicense drivinglicence drivinglicense licenseplate idcard
    identitycard identitynumber idnumber iban bic bankaccount accountnumber accountno accnumber
    routingnumber sortcode kontonummer cardholder cardholdername ip ips lastip firstip remoteip clientip
    userip ipaddr ipaddress ipv remoteaddr remoteaddress xforwardedfor useragent mac macaddress macaddr
    deviceid imei imsi idfa advertisingid geolocation geoip fingerprint diagnosis allergies bloodtype
    bloodgroup disability medicalrecord healthinsurance salary wage income gehalt emergencycontact
    nextofkin spouse signature avatar race ethnoracial ssno socsecno loginid contactinfo contactnumber
    contactno homeno demographics resume cv curriculumvitae taxidentification taxidentificationnumber
    licensenumber licenseno licencenumber licenceno sinnumber sinno sinnum routingnum routingno
    useridentity usermetadata identitydata userinfo smoker militaryservice byname nicename commentauthor
    toaddresses ccaddresses bccaddresses fromaddresses whodunnit affecteduser actorlabel externuid
    federateduserid externaluserid accountholder accholder vcard carddata calendardata pronouns pronunciation
    ssnid sinid ssnum permitno visano phno mobno cellno dlno dlnum drvlic driverlic ppno passportno tfn
    nhsno nhsnumber mrn persnr persnummer svnr sozialversicherungsnummer aadhaar aadhar panno emiratesid
    nric finno hkid ktp jmbg emso cprnr cprnumber henkilotunnus fodselsnummer kennitala mstatus gndr
    """
)
_BIRTHS = frozenset(
    (
        "dob",
        "bday",
        "bdate",
        "geburtsdatum",
        "geburtstag",
        "naissance",
        "nacimiento",
        "nascita",
        "geboortedatum",
    )
)
_PERSONAL_WHOLE_TERMS = _terms(
    """
    mail login bio sex skype icq aim jabber msn facebook twitter linkedin instagram telegram sms github
    discord bluesky mastodon vat ph mob eml sx pob ahv nir rut nik cnp egn oib cpr
    """
)
_PERSONAL_NUMBERS = _terms(
    """
    phone phonenumber telephone tel telno mobile mobilenumber cell cellphone fax msisdn birthyear
    yearofbirth ssn socialsecuritynumber nationalid taxid taxnumber taxno ip ipaddr ipaddress imei
    imsi zip zipcode postcode postalcode plz idnumber accountnumber accountno salary wage income gehalt gender
    nationality maritalstatus religion ethnicity race smoker contactnumber contactno licensenumber licenseno
    taxidentificationnumber sinnumber sinno sinnum routingnumber routingnum routingno phno mobno cellno tfn
    nhsno nhsnumber mrn aadhaar aadhar ssnum persnr svnr
    """
)
_PEOPLE = _terms(
    """
    user users contact contacts customer customers member members employee employees patient
    patients person persons people author authors lead leads subscriber subscribers student students
    teacher teachers guest guests passenger passengers applicant applicants donor donors staff
    verifier verifiers owner owners holder emp recipient recipients sender buyer tenant tenants guardian
    candidate candidates dependent dependents reviewer reviewers editor editors approver assignee interviewer
    """
)
_OF_PEOPLE = frozenset(("name", "photo", "picture", "portrait"))
_NO_SECRET = ("boolean", "date", "timestamp")
_NUMBERS = ("integer", "decimal", "float", "money", "percent")
_LETTERS = str.maketrans({"ß": "ss", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i"})


def secret_reason(name: str, kind: str, table: str = "") -> str:
    """Return why a column counts as a secret; empty if it does not.

    Args:
        name: Name of the column.
        kind: Declared type without precision; booleans and times are never secrets, numbers only some.
        table: Name of its table.
    """
    if kind in _NO_SECRET:
        return ""
    words, why = _words(name), "looks like a secret"
    if kind in _NUMBERS:
        return why if _ends_with(words, _NUMBER_TERMS) else ""
    if any(word in name.lower() for word in _FOREIGN):
        return why
    if not (len(words) > 1 and words[-1] in _FACTS) and (
        _has_stem(words)
        or any(term in _TERMS for term in _join_words(words))
        or _ends_with(words, _LAST_TERMS)
        or "".join(words) in _WHOLE_TERMS
    ):
        return why
    of_table = _words(bare_table(table))
    things = [word.removesuffix("s") for word in of_table]
    if words and things:
        of_secrets = _has_stem(things) or _ends_with(things, _TERMS | {"session"})
        if (of_secrets and words[-1] in _SECRET_CELLS) or "".join([things[-1], *words]) in _TERMS:
            return f"looks like a secret, as it is in {table}"
        if words[-1].endswith("value") and _has_options(of_table):
            return "holds settings of any kind, and may hold a secret"
    whole = "".join(words)
    if (
        whole in _RECORD_TERMS
        or (whole in _RECORD_CELLS and _RECORD_TABLES.intersection(of_table))
        or (whole in _RECORD_BAGS and _EVENT_TABLES.intersection(of_table))
    ):
        return "holds earlier values or messages of any kind, and may hold a secret"
    if _BAGS.intersection(words if kind == "json" else words[-1:]):
        return "holds settings of any kind, and may hold a secret"
    return ""


def _has_options(table: list[str]) -> bool:
    """Return whether a table has a row for each setting of a thing or a person."""
    last, owners = table[-1], table[:-1]
    if last in _ATTRIBUTES:  # those of products are no settings
        return not (_PEOPLE | _OPTION_OWNERS).isdisjoint(owners)
    return last in _OPTION_TABLES or any(stem in last for stem in _OPTION_STEMS)


def is_personal(name: str, kind: str = "text", table: str = "") -> bool:
    """Return whether a column of this name most likely holds personal data; arguments as above."""
    words = _words(name)
    if kind == "boolean":
        return False
    if kind in ("date", "timestamp"):
        return any("birth" in run or "death" in run or run in _BIRTHS for run in _join_words(words))
    if kind in _NUMBERS:
        return _ends_with(words, _PERSONAL_NUMBERS)
    is_fact = words[-1:] != ["name"] and bool(_FACTS.intersection(words[-1:]))  # email_status; not blood_type
    terms = _PERSONAL_TERMS.intersection(_join_words(words))
    if terms and (not is_fact or _ends_with(words, terms)):
        return True
    whole = "".join(words)
    if whole in _PERSONAL_WHOLE_TERMS:
        return True
    if bare_table(table).lower().endswith(("address", "addresses")) and words[:1] == ["line"]:
        return True
    return bool(_OF_PEOPLE.intersection(words[-1:])) and len(words) < 3 and _is_of_people(words, table)


def _is_of_people(words: list[str], table: str) -> bool:
    """Return whether a name or picture is that of a person: `users.name`, `contact_name`, `verifierName`."""
    before = words[:-1] or _words(bare_table(table))[-1:]
    return bool(_PEOPLE.intersection(before)) or words in (["display", "name"], ["user", "name"])


def _words(name: str) -> list[str]:
    """Return the lower-case words of a name in Latin script, without accents and digits."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).lower().translate(_LETTERS)
    ascii_name = "".join(c for c in unicodedata.normalize("NFKD", parted) if not unicodedata.combining(c))
    return re.findall(r"[a-z]+", ascii_name)


def _join_words(words: list[str], most: int = 3) -> Iterator[str]:
    """Yield each run of consecutive words as one joined word."""
    for start in range(len(words)):
        for end in range(start + 1, min(start + most, len(words)) + 1):
            yield "".join(words[start:end])


def _ends_with(words: list[str], terms: Collection[str]) -> bool:
    return any("".join(words[-count:]) in terms for count in range(1, min(len(words), 4) + 1))


def _has_stem(words: list[str]) -> bool:
    runs = [*words, *_join_words(words)]
    return any(
        stem in run and not any(innocent in run for innocent in _INNOCENT) for run in runs for stem in _STEMS
    )
