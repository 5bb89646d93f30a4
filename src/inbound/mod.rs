//! The way in, one station per file, in order.
