-- Properties with their places' names. What was deleted in the application is not printed here either.
SELECT
    p.id,
    c."tenantId" AS tenant_id,
    p.name AS property_name,
    c.name AS client_name,
    p.address,
    p.zip,
    city."cityName" AS city,
    county.name AS county,
    state."stateName" AS state,
    manager."firstName" AS manager_first_name,
    manager."lastName" AS manager_last_name,
    manager.email AS pm_email,
    p.status,
    p.type,
    p."isRetail" AS is_retail,
    p."isRetailScope" AS is_retail_scope,
    p."clientId" AS client_id,
    p."cityId" AS city_id,
    p."countyId" AS county_id,
    p."stateId" AS state_id,
    p."countryId" AS country_id,
    p."propertyManagerId" AS property_manager_id,
    -- One text to search in; no search text crosses from one part to the next, as nobody types this sign.
    coalesce(p.name, '') || '¦' || coalesce(p.address, '') || '¦' || coalesce(p.zip, '') AS search,
    p."createdAt" AS created_at
FROM "ClientProperties" p
JOIN "Client" c ON c.id = p."clientId"
LEFT JOIN "City" city ON city.id = p."cityId"
LEFT JOIN "County" county ON county.id = p."countyId"
LEFT JOIN "State" state ON state.id = p."stateId" AND NOT state."isDeleted"
LEFT JOIN "PropertyManager" manager ON manager.id = p."propertyManagerId"
WHERE p."deletedAt" IS NULL
    -- Ids to leave out, separated by commas; together with a list of ids both hold.
    AND (
        CAST(:exclude_ids AS TEXT) IS NULL
        OR replace(',' || CAST(:exclude_ids AS TEXT) || ',', ',' || p.id || ',', '') = ',' || CAST(:exclude_ids AS TEXT) || ','
    )
