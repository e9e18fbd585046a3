-- Addresses of captures: base address and path with one slash between them. Without either there is none.
SELECT
    id,
    CASE
        WHEN path LIKE 'http%' THEN path
        WHEN path <> '' AND public_base_url <> '' THEN rtrim(public_base_url, '/') || '/' || ltrim(path, '/')
    END AS url
FROM main_sourceimage
