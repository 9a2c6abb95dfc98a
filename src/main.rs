//! The command line of Kairos.
fn main() {}
