//! The binary.

fn main() -> std::process::ExitCode {
    civicnet::main()
}
