//! Copying commits from a repository on the same machine.

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;

use git2::{ObjectType, Oid, PackBuilderStage, Repository};

/// Which of the two repositories failed.
pub(super) enum CopyError {
    Source(git2::Error),
    Target(git2::Error),
}

/// Copies commits with all that they reach, but for what the refs of the target reach already. `may_go_on` is asked
/// again and again, with the bytes copied so far and the objects that are to be copied.
pub(super) fn copy(
    source: &Path,
    target: &Repository,
    wanted: &[Oid],
    may_go_on: &dyn Fn(u64, usize) -> bool,
) -> Result<(), CopyError> {
    let objects = target.odb().map_err(CopyError::Target)?;
    let missing: Vec<_> = wanted.iter().filter(|id| !objects.exists(**id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let source = Repository::open(source).map_err(CopyError::Source)?;
    let mut pack = source.packbuilder().map_err(CopyError::Source)?;
    let adding = |stage, objects: u32, _| match stage {
        PackBuilderStage::AddingObjects => may_go_on(0, objects as usize),
        PackBuilderStage::Deltafication => may_go_on(0, 0),
    };
    pack.set_progress_callback(adding).map_err(CopyError::Source)?;
    let haves = haves(target).map_err(CopyError::Target)?;
    let counted = (|| {
        let mut walk = source.revwalk()?;
        for id in missing {
            match source.find_object(*id, None)?.kind() {
                Some(ObjectType::Commit) => walk.push(*id)?,
                _ => pack.insert_recursive(*id, None)?,
            }
        }
        for have in haves {
            // What the source does not have needs no hiding.
            if source.find_commit(have).is_ok() {
                walk.hide(have)?;
            }
        }
        pack.insert_walk(&mut walk)
    })();
    counted.map_err(CopyError::Source)?;
    let mut writer = objects.packwriter().map_err(CopyError::Target)?;
    let (mut received, failure) = (0, RefCell::new(None));
    let written = pack.foreach(|bytes| {
        received += bytes.len() as u64;
        let written = writer.write_all(bytes);
        let done = may_go_on(received, 0) && written.is_ok();
        *failure.borrow_mut() = written.err();
        done
    });
    if let Some(failure) = failure.take() {
        return Err(CopyError::Target(git2::Error::from_str(&failure.to_string())));
    }
    written.map_err(CopyError::Source)?;
    writer.commit().map(|_| ()).map_err(CopyError::Target)
}

/// Returns what the refs of a repository name.
fn haves(repository: &Repository) -> Result<Vec<Oid>, git2::Error> {
    let references = repository.references()?;
    Ok(references.flatten().filter_map(|reference| reference.target()).collect())
}
