//! A disk that loses power, tears writes and fails.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::ThreadId;

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::spool::footing::DiskSpace;

/// A disk: the durable content, and the writes since the last sync.
#[derive(Clone, Debug, Default)]
pub(in crate::spool) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    durable: Vec<u8>,
    /// The bytes that the program sees.
    seen: Vec<u8>,
    unsynced: Vec<Change>,
    /// Steps so far: writes, changes of the length, syncs.
    steps: u64,
    fault: Option<DiskFault>,
    /// The generation of attached backends: an older backend has no effect any more.
    attached: u64,
    syncs: u64,
    space: Option<DiskSpace>,
    /// The threads that have read the store.
    readers: HashSet<ThreadId>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

/// A fault, and the step at which the fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spool) struct DiskFault {
    pub(in crate::spool) at: u64,
    pub(in crate::spool) kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spool) enum FaultKind {
    /// The power is off: no write reaches the disk from this step on.
    PowerCut,
    /// A write or a growth fails once: no space is left.
    NoSpace,
    /// Each write fails until the fault is [over](Disk::mend): the volume is read-only.
    ReadOnly,
    /// A sync fails once, and the writes since the last sync are lost in part.
    Sync,
}

/// The program's way to a disk.
#[derive(Debug)]
pub(in crate::spool) struct Attached {
    disk: Disk,
    generation: u64,
}

impl Disk {
    /// Attaches the program. Whoever was attached before cannot reach the disk any more.
    pub(in crate::spool) fn attach(&self) -> Attached {
        let mut state = self.0.lock();
        state.attached += 1;
        Attached {
            disk: self.clone(),
            generation: state.attached,
        }
    }

    pub(in crate::spool) fn length(&self) -> u64 {
        self.0.lock().seen.len() as u64
    }

    /// The bytes of pages that were written.
    pub(in crate::spool) fn written(&self) -> u64 {
        let state = self.0.lock();
        let pages = state.seen.chunks(PAGE);
        let written = pages.filter(|page| page.iter().any(|byte| *byte != 0));
        (written.count() * PAGE) as u64
    }

    pub(in crate::spool) fn space(&self) -> Option<DiskSpace> {
        self.0.lock().space
    }

    pub(in crate::spool) fn set_space(&self, space: DiskSpace) {
        self.0.lock().space = Some(space);
    }

    pub(in crate::spool) fn clear(&self) {
        let mut state = self.0.lock();
        state.durable.clear();
        state.seen.clear();
        state.unsynced.clear();
    }

    pub(in crate::spool) fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Notes that this thread reads the store, from the disk or from the engine's memory.
    pub(in crate::spool) fn note_reader(&self) {
        self.0.lock().readers.insert(std::thread::current().id());
    }

    /// The threads that have read since the last call.
    pub(in crate::spool) fn take_readers(&self) -> HashSet<ThreadId> {
        std::mem::take(&mut self.0.lock().readers)
    }

    pub(in crate::spool) fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// Lets something go wrong at a step.
    pub(in crate::spool) fn fail(&self, fault: DiskFault) {
        self.0.lock().fault = Some(fault);
    }

    /// Ends the fault.
    pub(in crate::spool) fn mend(&self) {
        self.0.lock().fault = None;
    }

    /// The disk after the power is back: what was synced, and of what was written since then
    /// whatever `chance` lets through, in sectors of 512 bytes.
    pub(in crate::spool) fn after_power_cut(&self, chance: &mut impl FnMut() -> bool) -> Self {
        let mut state = self.0.lock();
        state.attached += 1;
        let mut durable = state.durable.clone();
        for change in &state.unsynced {
            match change {
                Change::Length(length) if chance() => durable.resize(*length as usize, 0),
                Change::Length(_) => {}
                Change::Write(offset, data) => {
                    for (index, sector) in data.chunks(512).enumerate() {
                        if chance() {
                            put(&mut durable, *offset as usize + index * 512, sector);
                        }
                    }
                }
            }
        }
        let seen = durable.clone();
        Self(Arc::new(Mutex::new(State {
            durable,
            seen,
            ..State::default()
        })))
    }

    /// Changes bytes of the disk, as a bad sector does.
    pub(in crate::spool) fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        change(&mut state.durable);
        state.seen = state.durable.clone();
    }
}

/// The bytes of a page.
const PAGE: usize = 4096;

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

impl Attached {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.0.lock();
        if state.attached != self.generation {
            return Err(io::Error::other("the power is off"));
        }
        act(&mut state)
    }
}

impl State {
    /// Counts a step, and fails if one is to fail here.
    fn step(&mut self, is_sync: bool) -> io::Result<()> {
        self.steps += 1;
        let Some(fault) = self.fault.filter(|fault| self.steps >= fault.at) else {
            return Ok(());
        };
        match fault.kind {
            FaultKind::PowerCut => Err(io::Error::other("the power is off")),
            FaultKind::ReadOnly => Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)),
            FaultKind::NoSpace if !is_sync => {
                self.fault = None;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            FaultKind::Sync if is_sync => {
                self.fault = None;
                // The kernel marks pages clean that it could not write: every second one is lost.
                let mut kept = false;
                let mut seen = self.durable.clone();
                for change in std::mem::take(&mut self.unsynced) {
                    kept = !kept;
                    match change {
                        Change::Length(length) => seen.resize(length as usize, 0),
                        Change::Write(offset, data) if kept => {
                            put(&mut seen, offset as usize, &data)
                        }
                        Change::Write(..) => {}
                    }
                }
                self.durable = seen.clone();
                self.seen = seen;
                Err(io::Error::from_raw_os_error(5))
            }
            FaultKind::NoSpace | FaultKind::Sync => Ok(()),
        }
    }
}

impl StorageBackend for Attached {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|state| {
            let offset = offset as usize;
            let found = state.seen.get(offset..offset + out.len());
            out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state| {
            state.step(false)?;
            state.seen.resize(len as usize, 0);
            state.unsynced.push(Change::Length(len));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            state.step(true)?;
            state.durable = state.seen.clone();
            state.unsynced.clear();
            state.syncs += 1;
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|state| {
            state.step(false)?;
            put(&mut state.seen, offset as usize, data);
            state.unsynced.push(Change::Write(offset, data.to_vec()));
            Ok(())
        })
    }
}
