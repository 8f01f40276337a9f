//! autopay.
fn main() {}
