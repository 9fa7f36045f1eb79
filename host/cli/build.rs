//! Says of what the embedded SDK is made, so that a file that is new there is embedded too.

fn main() {
    for source in ["../../guest-sdk/rust", "../../wit/podium"] {
        println!("cargo:rerun-if-changed={source}");
    }
}
