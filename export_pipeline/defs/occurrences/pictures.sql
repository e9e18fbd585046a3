-- Pictures of detections. A full address stays as it is; an empty path is no picture.
SELECT
    id,
    occurrence_id,
    CASE
        WHEN path LIKE 'http%' THEN path
        WHEN path <> '' THEN :media_url || ltrim(path, '/')
    END AS url,
    -- Width and height only of a list of exactly four numbers.
    CASE WHEN bbox ->> 3 IS NOT NULL AND bbox ->> 4 IS NULL
        AND CAST(bbox AS TEXT) NOT LIKE '%"%' AND CAST(bbox AS TEXT) NOT LIKE '%u%'
        AND CAST(bbox AS TEXT) NOT LIKE '%a%' AND CAST(bbox AS TEXT) NOT LIKE '[%[%'
        THEN abs(CAST(bbox ->> 2 AS DOUBLE PRECISION) - CAST(bbox ->> 0 AS DOUBLE PRECISION))
    END AS width,
    CASE WHEN bbox ->> 3 IS NOT NULL AND bbox ->> 4 IS NULL
        AND CAST(bbox AS TEXT) NOT LIKE '%"%' AND CAST(bbox AS TEXT) NOT LIKE '%u%'
        AND CAST(bbox AS TEXT) NOT LIKE '%a%' AND CAST(bbox AS TEXT) NOT LIKE '[%[%'
        THEN abs(CAST(bbox ->> 3 AS DOUBLE PRECISION) - CAST(bbox ->> 1 AS DOUBLE PRECISION))
    END AS height
FROM main_detection
