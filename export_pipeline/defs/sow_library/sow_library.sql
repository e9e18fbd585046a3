-- Scopes of work of both libraries. Only the base library belongs to every tenant: a client's scope whose client is not
-- known belongs to nobody, so its tenant is an empty text and not missing.
SELECT
    s.id,
    s."scopeType" AS scope_type,
    CASE WHEN s."scopeType" = 'BASE_SCOPE_LIBRARY' THEN NULL ELSE coalesce(c."tenantId", '') END AS tenant_id,
    c.name AS client_name,
    s."scopeName" AS scope_of_work_name,
    v."servicesName" AS services,
    creator."fullName" AS uploaded_by,
    s."createdAt" AS uploaded_date,
    editor."fullName" AS updated_by,
    s."updatedAt" AS updated_date,
    s."scopeOfWorkStatus" AS status,
    s."serviceId" AS service_id,
    s."clientId" AS client_id,
    s."createdById" AS created_by_id,
    s."modifiedById" AS modified_by_id
FROM "ScopeOfWork" s
LEFT JOIN "Client" c ON c.id = s."clientId"
LEFT JOIN "Services" v ON v.id = s."serviceId"
LEFT JOIN "Users" creator ON creator.id = s."createdById"
LEFT JOIN "Users" editor ON editor.id = s."modifiedById"
WHERE s."deletedAt" IS NULL AND s."scopeType" IN ('BASE_SCOPE_LIBRARY', 'CLIENT_SCOPE_LIBRARY')
