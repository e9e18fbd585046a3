-- Names of events as the application computes them: "Saturday, Jun 20-21 2026", or "Saturday, Jun 20 2026" if it ends on the same day.
WITH dated AS (
    SELECT
        id,
        CAST(substr(CAST(start AS TEXT), 1, 4) AS INTEGER) AS year,
        CAST(substr(CAST(start AS TEXT), 6, 2) AS INTEGER) AS month,
        CAST(substr(CAST(start AS TEXT), 9, 2) AS INTEGER) AS day,
        substr(CAST("end" AS TEXT), 1, 4) AS end_year,
        CAST(substr(CAST("end" AS TEXT), 9, 2) AS INTEGER) AS end_day,
        substr(CAST(start AS TEXT), 1, 10) <> substr(CAST("end" AS TEXT), 1, 10) AS is_longer
    FROM main_event
    WHERE start IS NOT NULL
),
labelled AS (
    SELECT
        id,
        substr('JanFebMarAprMayJunJulAugSepOctNovDec', 3 * month - 2, 3) || ' ' || CAST(day AS TEXT)
            || CASE WHEN is_longer THEN '-' || CAST(end_day AS TEXT) || ' ' || end_year
                ELSE ' ' || substr(CAST(10000 + year AS TEXT), 2) END AS date_label,
        -- The day of the week by the method of Sakamoto; years begin in March, 0 is a Sunday.
        (
            CASE WHEN month < 3 THEN year - 1 ELSE year END
            + CASE WHEN month < 3 THEN year - 1 ELSE year END / 4
            - CASE WHEN month < 3 THEN year - 1 ELSE year END / 100
            + CASE WHEN month < 3 THEN year - 1 ELSE year END / 400
            + CAST(substr('032503514624', month, 1) AS INTEGER) + day
        ) % 7 AS weekday
    FROM dated
)
SELECT
    id,
    CASE weekday WHEN 0 THEN 'Sunday' WHEN 1 THEN 'Monday' WHEN 2 THEN 'Tuesday' WHEN 3 THEN 'Wednesday'
        WHEN 4 THEN 'Thursday' WHEN 5 THEN 'Friday' ELSE 'Saturday' END || ', ' || date_label AS name,
    date_label
FROM labelled
