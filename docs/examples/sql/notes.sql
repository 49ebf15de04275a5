-- What clients may ask for. They name a statement and give its parameters; SQL
-- never comes from them.

-- name: add_note
INSERT INTO notes (title, body)
VALUES (:title, :body)
RETURNING id;

-- name: note
SELECT id, title, body, created FROM notes WHERE id = :id;

-- name: search
-- The newest first, a page at a time: before is the last id of the page above,
-- or null.
SELECT id, title
FROM notes
WHERE title LIKE '%' || :text || '%' AND (:before IS NULL OR id < :before)
ORDER BY id DESC
LIMIT 20;

-- name: tag_note
-- Many at once: an array arrives as its JSON text.
INSERT OR IGNORE INTO tags (note, tag)
SELECT :id, value FROM json_each(:tags);

-- name: tags
SELECT tag, count(*) AS notes FROM tags GROUP BY tag ORDER BY tag;

-- name: remove_note
DELETE FROM notes WHERE id = :id;
