-- One row an occurrence that is determined and was really seen. A detection without a box, or with an empty one, only
-- marks that a capture was looked at and nothing found.
WITH seen AS NOT MATERIALIZED (
    SELECT id, occurrence_id, source_image_id, path, bbox
    FROM main_detection
    WHERE bbox IS NOT NULL AND CAST(bbox AS TEXT) NOT IN ('null', '[]')
),
occurrence AS NOT MATERIALIZED (
    SELECT
        o.*,
        -- Final classifications before intermediate ones, then the highest score (none is the lowest), then the first.
        (
            SELECT c.id
            FROM main_classification c JOIN seen d ON d.id = c.detection_id
            WHERE d.occurrence_id = o.id
            ORDER BY c.terminal DESC, c.score IS NULL, c.score DESC, c.id
            LIMIT 1
        ) AS best_prediction_id,
        (SELECT min(d.id) FROM seen d WHERE d.occurrence_id = o.id) AS first_detection_id,
        -- What people say now: the newest identification that was not withdrawn.
        (
            SELECT i.id
            FROM main_identification i
            WHERE i.occurrence_id = o.id AND NOT i.withdrawn
            ORDER BY i.created_at DESC, i.id DESC
            LIMIT 1
        ) AS best_identification_id
    FROM main_occurrence o
    WHERE o.determination_id IS NOT NULL AND EXISTS (SELECT 1 FROM seen d WHERE d.occurrence_id = o.id)
)
SELECT
    o.id,
    :api_url || 'occurrences/' || CAST(o.id AS TEXT) || '/' AS details,
    :occurrence_ids || CAST(o.id AS TEXT) AS occurrence_id,
    o.event_id,
    o.deployment_id,
    deployment.name AS deployment_name,
    o.project_id,
    project.name AS project_name,
    o.determination_id,
    determination.name AS determination_name,
    o.determination_score,
    o.best_prediction_id,
    -- Where somebody has identified it, the prediction does not explain the determination.
    CASE WHEN o.best_identification_id IS NULL THEN o.best_prediction_id END AS unverified_prediction_id,
    o.best_identification_id,
    predicted.name AS best_machine_prediction_name,
    algorithm.name AS best_machine_prediction_algorithm,
    prediction.score AS best_machine_prediction_score,
    prediction.taxon_id AS best_prediction_taxon_id,
    person.name AS verified_by,
    (
        SELECT count(DISTINCT i.user_id)
        FROM main_identification i
        WHERE i.occurrence_id = o.id AND NOT i.withdrawn
    ) AS participant_count,
    agreed_algorithm.name AS agreed_with_algorithm,
    agreed_person.name AS agreed_with_user,
    agreed_person.email AS agreed_with_user_email,
    (SELECT count(*) FROM main_detection d WHERE d.occurrence_id = o.id) AS detections_count,
    (SELECT min(d.timestamp) FROM main_detection d WHERE d.occurrence_id = o.id) AS first_appearance_timestamp,
    (SELECT max(d.timestamp) FROM main_detection d WHERE d.occurrence_id = o.id) AS last_appearance_timestamp,
    -- The earliest time of day, with microseconds if there are any.
    (
        SELECT min(CASE
            WHEN rtrim(substr(CAST(d.timestamp AS TEXT), 20), '.0') = '' THEN substr(CAST(d.timestamp AS TEXT), 12, 8)
            ELSE substr(substr(CAST(d.timestamp AS TEXT), 12) || '000000', 1, 15)
        END)
        FROM main_detection d WHERE d.occurrence_id = o.id
    ) AS first_appearance_time,
    -- The picture is that of the prediction printed beside it; where nothing was classified, the first one.
    coalesce(prediction.detection_id, o.first_detection_id) AS best_detection_id,
    o.created_at,
    o.updated_at
FROM occurrence o
LEFT JOIN main_project project ON project.id = o.project_id
LEFT JOIN main_deployment deployment ON deployment.id = o.deployment_id
LEFT JOIN main_taxon determination ON determination.id = o.determination_id
LEFT JOIN main_classification prediction ON prediction.id = o.best_prediction_id
LEFT JOIN main_taxon predicted ON predicted.id = prediction.taxon_id
LEFT JOIN ml_algorithm algorithm ON algorithm.id = prediction.algorithm_id
LEFT JOIN main_identification identification ON identification.id = o.best_identification_id
LEFT JOIN users_user person ON person.id = identification.user_id
LEFT JOIN main_classification agreed_prediction ON agreed_prediction.id = identification.agreed_with_prediction_id
LEFT JOIN ml_algorithm agreed_algorithm ON agreed_algorithm.id = agreed_prediction.algorithm_id
LEFT JOIN main_identification agreed ON agreed.id = identification.agreed_with_identification_id
LEFT JOIN users_user agreed_person ON agreed_person.id = agreed.user_id
