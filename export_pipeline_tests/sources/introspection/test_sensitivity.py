"""Names of secrets and of personal data, tried on columns that applications really have."""

from __future__ import annotations

from pathlib import Path

import pytest

from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline.sources.introspection.sensitivity import is_personal, secret_reason
from export_pipeline.sources.snapshot import SourceError
from export_pipeline_tests.hostile import file_readers, introspected
from export_pipeline_tests.sources.introspection.schemas import attributes, execute

# The columns of each application as its schema names them: table, type; `!` secret, `@` personal, else neither.
APPLICATIONS = {
    "mastodon db/schema.rb": """
        users text: @email !encrypted_password !reset_password_token !confirmation_token @unconfirmed_email locale
            !otp_backup_codes !sign_in_token @sign_up_ip !otp_secret time_zone
        users boolean: otp_required_for_login skip_sign_in_token
        users timestamp: reset_password_sent_at sign_in_token_sent_at confirmed_at
        users integer: sign_in_count consumed_timestep account_id
        web_push_subscriptions text: endpoint !key_auth
        web_push_subscriptions integer: access_token_id
        webhooks text: !url !secret template
        accounts text: @username domain !private_key public_key note @display_name
    """,
    "openemr database.sql": """
        patient_data text: title @fname @lname @mname @street @postal_code city @drivers_license @phone_home
            @phone_cell status @sex @email @ethnoracial @race @religion @mothersname @guardiansname
            @guardianaddress @guardianphone @monthly_income referrer
        users_secure text: @username !password !password_history1
    """,
    "assorted": """
        people text: @blood_type @owner_name @emp_name !pwdhash @handynr !wallet_key !pan email_status
    """,
    "ghost schema.js": """
        users text: @name slug !password @email @bio status visibility
        invites text: !token @email status
        sessions text: !session_id !session_data user_id
        api_keys text: !secret type
        settings text: group key !value type
        members text: uuid @email @name note @geolocation
    """,
    "osticket install-mysql.sql": """
        ost_api_key text: @ipaddr !apikey notes
        ost_email text: @email name userid !userpass mail_host mail_protocol mail_encryption smtp_host
        ost_email_account text: protocol host @username !password
        ost_config text: namespace key !value
        ost_file text: type name attrs
        ost_staff text: @username @firstname @lastname !passwd @email @phone @mobile
        ost_session text: !session_id !session_data @user_ip @user_agent
    """,
    "chatwoot db/schema.rb": """
        channel_api text: identifier !hmac_token !webhook_url
        channel_api boolean: hmac_mandatory
        channel_email text: @email imap_login !imap_password !smtp_password smtp_domain smtp_openssl_verify_mode
        channel_email json: !provider_config
        channel_facebook_pages text: page_id !user_access_token !page_access_token
        channel_line text: line_channel_id !line_channel_secret !line_channel_token
        channel_telegram text: bot_name !bot_token
        channel_twilio_sms text: @phone_number !auth_token
        channel_web_widgets text: !website_token widget_color welcome_title
        contacts text: @name @email @phone_number @middle_name @last_name country_code
        contacts json: additional_attributes custom_attributes
        contact_inboxes text: source_id !pubsub_token
    """,
    "zabbix schema.tmpl": """
        hosts text: host name !ipmi_password !tls_psk !tls_psk_identity tls_issuer description
        items text: key_ !privatekey publickey !password @username
        interface_snmp text: !community !authpassphrase !privpassphrase securityname
        users text: @username @name @surname !passwd url lang
        sessions text: !sessionid !secret
        media_type text: smtp_server !passwd @username
        users integer: autologin attempt_failed
        config text: !session_key default_theme
        dhosts integer: status lastup
        token text: name !token
    """,
    "wordpress and woocommerce schema.php": """
        wp_users text: @user_login !user_pass @user_email !user_activation_key @display_name
        wp_options text: option_name !option_value autoload
        wp_usermeta text: meta_key !meta_value
        wp_comments text: @comment_author_email @comment_author_ip comment_content
        wp_woocommerce_api_keys text: description permissions !consumer_key !consumer_secret !truncated_key
        wp_woocommerce_sessions text: !session_key !session_value
        wp_woocommerce_payment_tokens text: gateway_id !token type
        wp_wc_customer_lookup text: @username @first_name @last_name @email country @postcode city
        wp_posts text: post_title !post_password post_status
    """,
    "discourse db/structure.sql": """
        users text: @username @name !password_hash !salt @ip_address
        users boolean: active approved
        user_auth_tokens text: !auth_token !prev_auth_token @user_agent @client_ip
        api_keys text: !key_hash !truncated_key description
        user_second_factors text: !data
        email_tokens text: @email !token_hash
        single_sign_on_records text: external_id @external_email @external_username
        topics text: title fancy_title
        topics integer: views posts_count
    """,
    "gitlab db/structure.sql": """
        users text: @email @name @username !encrypted_password !incoming_email_token !static_object_token !feed_token
            !otp_secret_encrypted !encrypted_otp_secret !otp_backup_codes @current_sign_in_ip !unlock_token
        ci_builds text: !token_encrypted stage ref
        personal_access_tokens text: name scopes !token_digest
        application_settings text: !runners_registration_token !encrypted_ci_jwt_signing_key help_page_text
        keys text: key title type @fingerprint
        deploy_tokens text: name @username !token_encrypted
        merge_requests text: title description state source_branch
    """,
    "moodle install.xml": """
        mdl_user text: @username !password @idnumber @firstname @lastname @email @phone1 @phone2 @address city
            @lastip !secret
        mdl_external_tokens text: !token !privatetoken iprestriction
        mdl_config text: name !value
        mdl_sessions text: !sid !sessdata @firstip @lastip
        mdl_course text: shortname summary format
        mdl_course integer: category sortorder
    """,
    "nextcloud core/Migrations": """
        oc_users text: uid @displayname !password
        oc_authtoken text: uid @login_name !password name !token !private_key !public_key
        oc_authtoken integer: last_activity type
        oc_credentials text: identifier !credentials
        oc_preferences text: appid configkey !configvalue
        oc_share text: share_with !password !token file_target
        oc_filecache text: path name etag
    """,
    "keycloak jpa-changelog": """
        user_entity text: @email @first_name @last_name @username realm_id
        credential text: type user_label !secret_data !credential_data !salt
        client text: client_id !secret base_url protocol !registration_token
        user_session text: !user_session_id realm_id @ip_address @login_username
        event_entity text: @ip_address type error
        identity_provider_config text: name !value
    """,
    "sentry models": """
        auth_user text: @username @email !password @name
        sentry_apikey text: !key label
        sentry_apitoken text: !token !refresh_token
        sentry_projectkey text: public_key !secret_key label
        sentry_useremail text: @email !validation_hash
        sentry_userip text: @ip_address country_code
        sentry_option json: !config
    """,
    "saleor models": """
        account_user text: @email @first_name @last_name !password note language_code
        account_address text: @first_name @last_name company_name @street_address_1 @postal_code @phone city
        app_apptoken text: name !auth_token !token_last_4
        order_order text: @user_email !token number status
        payment_payment text: gateway @billing_email @customer_ip_address cc_brand
        payment_payment integer: cc_exp_month cc_exp_year
    """,
    "odoo": """
        res_users text: @login !password @signature !totp_secret
        res_partner text: name @email @phone @mobile @street @zip city
        ir_config_parameter text: key !value
        ir_mail_server text: smtp_host smtp_user !smtp_pass
        res_partner_bank text: @acc_number
    """,
    "orangehrm dbscript.sql": """
        hs_hr_employee text: @emp_lastname @emp_ssn_num @emp_sin_num @emp_military_service emp_status job_title_code
        hs_hr_employee integer: @emp_gender @emp_smoker emp_status work_station
        hs_hr_emp_attachment text: eattach_desc @attached_by_name
        hs_hr_emp_directdebit integer: @dd_routing_num dd_seqno
        ohrm_emp_license text: @license_no
        ohrm_job_candidate text: @first_name @contact_number @cv_text_version keywords comment
        ohrm_auth_provider_extra_details text: provider_type !client_secret !developer_key
        ohrm_openid_user_identity text: @user_identity
    """,
    "adventureworks instawdb.sql": """
        humanresources.employee text: @LoginID @NationalIDNumber JobTitle
        person.person text: @FirstName @AdditionalContactInfo @Demographics PersonType
        humanresources.jobcandidate text: @Resume
        production.productphoto text: ThumbNailPhoto LargePhotoFileName
        sales.creditcard text: !CardNumber CardType
    """,
    "northwind create.sql": """
        Employees text: @LastName @Photo PhotoPath Notes TitleOfCourtesy
        Categories text: CategoryName Picture
    """,
    "lago db/structure.sql": """
        billing_entities text: @legal_name @tax_identification_number document_locale
        customers text: @firstname currency
        api_keys text: !value
    """,
    "maybe db/schema.rb": """
        addresses text: @line1 @line2 county locality
        orders text: line_item line_number
    """,
    "supabase auth migrations": """
        auth.users json: raw_app_meta_data @raw_user_meta_data
        auth.identities json: @identity_data
        auth.oauth_authorizations text: !nonce redirect_uri
    """,
    "musicbrainz CreateTables.sql": """
        editor text: @name !ha1 @email @bio website
    """,
    "tables of history: gitlab, discourse, odoo, redmine, keycloak, sentry, zulip": """
        audit_events text: entity_path @author_name !details target_type
        web_hook_logs text: !request_headers !request_data !response_headers !response_body url
        user_histories text: !previous_value !new_value @email subject
        post_revisions text: !modifications number
        mail_tracking_value text: !old_value_char !new_value_char field_info
        journal_details text: property prop_key !old_value !value
        event_entity text: !details_json error @ip_address
        admin_event_entity text: !representation resource_path
        sentry_auditlogentry json: !data
        sentry_authidentity json: !data
        social_auth_usersocialauth json: !extra_data
        zerver_realmauditlog json: !extra_data
        oc_activity text: @affecteduser priority
    """,
    "tables of history: libraries": """
        versions text: item_type event @whodunnit !object !object_changes
        versions json: !object !object_changes
        reversion_version text: !serialized_data format object_id
        auditlog_logentry json: !changes !serialized_data !additional_data
        users_historicaluser text: !password history_type history_change_reason @first_name
        easyaudit_crudevent text: !object_json_repr !changed_fields
        audits text: !audited_changes !old_values !new_values @remote_address comment
        activity_log json: !properties
        logged_actions text: !row_data !changed_fields !client_query action
        row_log json: !changes !old_data !new_data
    """,
    "tables that have such names and no secrets": """
        orders_history text: status comment
        order_details text: data value note
        events text: details description title
        price_history text: currency reason
        page_versions text: body title
        products text: value changes properties
        product_attributes text: name value
    """,
    "tables of settings": """
        user_attribute text: name !value
        client_attributes text: name !value
        realm_smtp_config text: name !value
        oc_appconfig text: configkey !configvalue
        wp_postmeta text: meta_key !meta_value
        zerver_botconfigdata text: key !value
        confirmation_confirmation text: !confirmation_key
        invites text: !invite_key @email custom_message
        identities text: @extern_uid !saml_response provider
    """,
    "personal data in short": """
        hr_employee text: @ssnid @sinid @permit_no @visa_no @place_of_birth barcode
        res_partner_bank text: @acc_holder_name @sanitized_acc_number
        res_partner text: @vat website function
        people text: @ph_no @mob @mob_no @cellno @eml @dl_no @pp_no @ss_num @tfn @nhs_no @mrn @pob @gndr @sx @mstatus
            @persnr @svnr @aadhaar @pan_no @nric @hkid @jmbg @fodselsnummer panel pants finance rust tandem old_name
        people date: @bday @b_date @birth_dt booked_on
        user_details text: @discord @pronouns job_title
        wp_comments text: @comment_author comment_agent
        wp_users text: @user_nicename
        incoming_emails text: @from_address @to_addresses @cc_addresses subject
        oc_cards text: @carddata uri
    """,
    "in other languages": """
        benutzer text: @vorname @nachname !passwort !kennwort @strasse @straße @geburtsort @telefonnummer !Passwort
        utilisateurs text: @prénom !mot_de_passe !motDePasse @téléphone @code_postal @courriel
        usuarios text: @apellidos !contraseña !contrasena !CONTRASEÑA @dirección @teléfono !senha
        gebruikers text: @voornaam @achternaam !wachtwoord
        uzytkownicy text: !hasło !heslo
        users text: !пароль !密码 !パスワード
        benutzer date: @geburtsdatum @date_naissance angelegt_am
    """,
    "the names of reported leaks": """
        t text: !privatekey !tls_psk !authpassphrase !session_key !sessionid !pwd !pin !credit_card_number !pinCode
            !user_pin shipping_pinned spin pinned opinion @tel @tax_id @ip @mother_maiden_name @emailaddress
            @address_line_1 @iban secretary secretary_name token_type tokenizer_name compass passenger_count_note
            !apiKey !APIKey !api-key !x_api_key !clientSecret !AccessToken keyboard monkey donkey turkey author
            authority hash sort_key primary_key foreign_key key_name tan assault basalt
        t integer: !pin !cvv !pin_code token_count max_tokens session_id pin_count password_version @ip @phone
            salt secret_level !credit_card_number
        t date: password_changed_on pin_date @date_of_birth @dob token_expires
        t boolean: is_pin has_password email_verified phone_verified
        t json: !settings !credentials !config metadata data payload !smtp_settings
    """,
}  # fmt: skip


def expectations() -> list[tuple[str, str, str, str]]:
    """Table, type, column and sign of each column above."""
    expected = []
    for lines in APPLICATIONS.values():
        words, table, kind = lines.split(), "", ""
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if following.endswith(":"):
                table, kind = word, following[:-1]
            elif not word.endswith(":"):
                expected.append((table, kind, word.lstrip("!@"), word[0] if word[0] in "!@" else ""))
    return expected


def test_secrets_and_personal_data_of_applications_are_found_and_nothing_else() -> None:
    wrong = []
    for table, kind, column, sign in expectations():
        is_secret = bool(secret_reason(column, kind, table))
        mark = "!" if is_secret else "@" if is_personal(column, kind, table) else ""
        if mark != sign:
            wrong.append(f"{table}.{column} ({kind}): {mark or 'neither'} instead of {sign or 'neither'}")
    assert wrong == []
    assert len(expectations()) > 300


@pytest.mark.parametrize(
    "name", ["password", "api_key", "pin", "session_id", "credit_card_number", "tls_psk"]
)
def test_flags_and_times_about_a_secret_are_none(name: str) -> None:
    for kind in ("boolean", "date", "timestamp"):
        assert secret_reason(name, kind) == ""


@pytest.mark.slow
def test_no_secret_is_in_what_is_exported_without_an_edit(postgres_url: str, tmp_path: Path) -> None:
    execute(
        postgres_url,
        "CREATE TABLE users (id int PRIMARY KEY, name text, email text, tel text, privatekey text, tls_psk text,"
        " authpassphrase text, session_key text, sessionid text, pwd text, pin int, cvv smallint, settings jsonb,"
        " credit_card_number text, raw_salt bytea, shipping_pinned text, metadata jsonb, token_count int);"
        "INSERT INTO users VALUES (1, 'Ann', 'ann@example.org', '+49', 's', 's', 's', 's', 's', 's', 4711, 4711,"
        """ '{"password": "s"}', 's', 's', 'yes', '{}', 3);"""
        "CREATE TABLE logins (id int PRIMARY KEY, user_id int REFERENCES users); INSERT INTO logins VALUES (1, 1);"
        "CREATE TABLE only_secret (password text PRIMARY KEY);",
    )
    declared = attributes(postgres_url, "users")
    made = introspected.export(postgres_url, "users", tmp_path / "made", ["json"])

    assert file_readers.documents(made.files["json"]) == [
        {
            "id": 1,
            "name": "Ann",
            "email": "ann@example.org",
            "tel": "+49",
            "shipping_pinned": "yes",
            "metadata": {},
        }
        | {"token_count": 3}
    ]
    assert [c["name"] for c in declared["columns"] if c.get("personal")] == ["name", "email", "tel"]
    hidden = {c["name"] for c in declared["columns"] if c.get("hidden")}
    assert len(hidden) == 11
    assert not hidden & {*declared["filters"], *declared["sort"]}
    assert (
        "# looks like a secret; never exported while it is hidden" in introspect(postgres_url, "users").yaml
    )
    assert "may hold a secret; never exported" in introspect(postgres_url, "users").yaml
    label = next(
        c for c in attributes(postgres_url, "logins")["columns"] if c.get("from", "").startswith("user.")
    )
    assert label["personal"] is True
    with pytest.raises(SourceError, match="All columns of only_secret look like secrets"):
        introspect(postgres_url, "only_secret")
