//! What the system says and does: processor time, the page cache.

use std::path::Path;
use std::process::Command;

use crate::run::Result;

/// User and system time of the process, in seconds: fields 14 and 15 of its `stat`, in hundredths.
pub(crate) fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        behind_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

/// Takes the files of a folder out of the page cache, as `posix_fadvise` does. `dd` calls it, so nothing unsafe is here.
pub(crate) fn drop_from_page_cache(folder: &Path) -> Result<()> {
    Command::new("sync").status()?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            drop_from_page_cache(&entry.path())?;
            continue;
        }
        let mut input = std::ffi::OsString::from("if=");
        input.push(entry.path());
        let ended =
            Command::new("dd").arg(input).args(["of=/dev/null", "iflag=nocache", "count=0", "status=none"]).status()?;
        if !ended.success() {
            return Err(format!("dd ended with {ended}").into());
        }
    }
    Ok(())
}
