-- Requests for proposal and what came in. Withdrawn bids are no bids; a bid without a sum is counted, but is not the lowest.
SELECT
    r.id,
    c."tenantId" AS tenant_id,
    r.title,
    r."clientId" AS client_id,
    c.name AS client_name,
    s."scopeName" AS scope_of_work_name,
    r.status,
    r.budget,
    r."issuedAt" AS issued_at,
    r."dueOn" AS due_on,
    creator."fullName" AS created_by,
    r."createdAt" AS created_at,
    (SELECT count(*) FROM "RfpBid" b WHERE b."rfpId" = r.id AND b.status <> 'WITHDRAWN') AS bids_count,
    (SELECT min(b.amount) FROM "RfpBid" b WHERE b."rfpId" = r.id AND b.status <> 'WITHDRAWN') AS lowest_bid,
    awarded."vendorName" AS awarded_to,
    awarded.amount AS awarded_amount
FROM "RequestForProposal" r
JOIN "Client" c ON c.id = r."clientId"
LEFT JOIN "ScopeOfWork" s ON s.id = r."scopeOfWorkId" AND s."deletedAt" IS NULL
LEFT JOIN "Users" creator ON creator.id = r."createdById"
LEFT JOIN "RfpBid" awarded ON awarded.id = (
    SELECT b.id FROM "RfpBid" b WHERE b."rfpId" = r.id AND b.status = 'AWARDED' ORDER BY b."submittedAt", b.id LIMIT 1
)
WHERE r."deletedAt" IS NULL
