//! ostler
