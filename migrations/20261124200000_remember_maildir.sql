-- What was taken from a Maildir, by the name its file keeps wherever it is moved, so that a restart does not read everything
-- in cur/ again. Names that are gone from the folder go from here too.

CREATE TABLE maildir_file (
    folder TEXT NOT NULL,
    name TEXT NOT NULL,
    taken_at BIGINT NOT NULL,
    PRIMARY KEY (folder, name)
);
