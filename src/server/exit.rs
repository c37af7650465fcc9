//! The end of the process.

use std::io::{self, Write};

/// Ends the process at once: no destructor runs after this.
///
/// Requests that outlived the drain still run on Tokio's threads and hold the databases. Were the process to end by
/// returning from `main`, the static destructors of RocksDB would run beneath them, and now and then it would crash
/// after everything was written out well. Whatever has to reach the disk has reached it before this is called.
pub fn exit(code: u8) -> ! {
    // Nobody is left to be told that the terminal is gone.
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
    // SAFETY: ends the process without running any code of this program or of its libraries.
    unsafe { libc::_exit(i32::from(code)) }
}
