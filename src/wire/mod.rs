//! The world's formats; no tables.
