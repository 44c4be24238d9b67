//! The loop itself: libvirt's descriptors and timers, on the operating system's own queue of events.
//!
//! libvirt has a default loop, and every call of a remote connection changes that loop three times from another thread:
//! the socket is taken out, put back, and the keepalive timer begins anew. There each change wakes the loop's thread, which
//! takes a quarter of a call's time on a machine with two processors. Here a descriptor changes in the kernel's queue,
//! which nobody is woken for, and a timer that moves away wakes nobody either.

#![allow(unsafe_code, reason = "what libvirt gives are C functions, with a pointer each")]

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use polling::{Event, Events, Poller};
use virt::sys;

type HandleCallback = unsafe extern "C" fn(c_int, c_int, c_int, *mut c_void);
type TimerCallback = unsafe extern "C" fn(c_int, *mut c_void);

/// What a callback is given, and how to free it when it is not called any more.
struct Opaque {
    data: *mut c_void,
    free: sys::virFreeCallback,
}

// SAFETY: libvirt's contract for a loop is that callbacks are called on the loop's thread, whoever registered them.
unsafe impl Send for Opaque {}

/// A descriptor that is watched.
struct Handle {
    descriptor: RawFd,
    /// What is waited for, in libvirt's bits; 0 for nothing.
    wanted: c_int,
    callback: HandleCallback,
    opaque: Opaque,
}

struct Timer {
    /// It comes again and again; `None` while it rests.
    interval: Option<Duration>,
    due: Option<Instant>,
    callback: TimerCallback,
    opaque: Opaque,
}

impl Timer {
    fn set(&mut self, milliseconds: c_int) {
        // Negative: it rests.
        self.interval = u64::try_from(milliseconds).ok().map(Duration::from_millis);
        self.due = self.interval.and_then(|interval| Instant::now().checked_add(interval));
    }
}

#[derive(Default)]
struct Registered {
    last_id: c_int,
    handles: HashMap<c_int, Handle>,
    timers: HashMap<c_int, Timer>,
    /// To be freed by the loop's thread, between two callbacks: libvirt holds locks where it removes.
    removed: Vec<Opaque>,
    /// When the loop's thread wakes by itself.
    wakes_at: Option<Instant>,
}

impl Registered {
    fn next_id(&mut self) -> c_int {
        // After two billion of them the first ones are gone.
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Whether the loop's thread would sleep past this moment.
    fn sleeps_past(&self, due: Option<Instant>) -> bool {
        due.is_some_and(|due| self.wakes_at.is_none_or(|wakes_at| due < wakes_at))
    }
}

struct PolledLoop {
    poller: Poller,
    registered: Mutex<Registered>,
}

static LOOP: OnceLock<PolledLoop> = OnceLock::new();

/// Registers this loop as the one of the process. The function that comes back runs it for ever, and is to be called once.
pub(super) fn register() -> io::Result<impl FnOnce() + Send + 'static> {
    let polled = PolledLoop { poller: Poller::new()?, registered: Mutex::default() };
    let polled = LOOP.get_or_init(|| polled);
    // SAFETY: the functions live as long as the process, and may be called by any thread.
    unsafe {
        sys::virEventRegisterImpl(
            Some(add_handle),
            Some(update_handle),
            Some(remove_handle),
            Some(add_timeout),
            Some(update_timeout),
            Some(remove_timeout),
        );
    }
    Ok(move || {
        let mut events = Events::new();
        loop {
            polled.round(&mut events);
        }
    })
}

impl PolledLoop {
    fn registered(&self) -> MutexGuard<'_, Registered> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until something happens, and calls whom it concerns.
    fn round(&self, events: &mut Events) {
        let timeout = {
            let mut registered = self.registered();
            registered.wakes_at = registered.timers.values().filter_map(|timer| timer.due).min();
            registered.wakes_at.map(|due| due.saturating_duration_since(Instant::now()))
        };
        events.clear();
        // A failure concerns this round only.
        if self.poller.wait(events, timeout).is_err() {
            std::thread::yield_now();
        }
        for event in events.iter() {
            self.tell_handle(event);
        }
        self.tell_timers();
        let removed = std::mem::take(&mut self.registered().removed);
        for Opaque { data, free } in removed {
            if let Some(free) = free {
                // SAFETY: it was registered with this data, is removed, and this thread is in none of its callbacks.
                unsafe { free(data) };
            }
        }
    }

    fn tell_handle(&self, event: Event) {
        let Ok(id) = c_int::try_from(event.key) else { return };
        let (callback, descriptor, happened, data) = {
            let registered = self.registered();
            // Removed, or taken out, after it had happened.
            let Some(handle) = registered.handles.get(&id).filter(|handle| handle.wanted != 0) else {
                return;
            };
            (handle.callback, handle.descriptor, happened(event, handle.wanted), handle.opaque.data)
        };
        if happened != 0 {
            // SAFETY: what is removed meanwhile is freed by this thread, later.
            unsafe { callback(id, descriptor, happened, data) };
        }
        // The queue tells of a descriptor once, and is asked anew.
        if let Some(handle) = self.registered().handles.get(&id).filter(|handle| handle.wanted != 0) {
            let _ = self.watch(id, handle);
        }
    }

    fn tell_timers(&self) {
        let now = Instant::now();
        let due: Vec<c_int> = {
            let registered = self.registered();
            let is_due = |timer: &Timer| timer.due.is_some_and(|due| due <= now);
            registered.timers.iter().filter(|(_, timer)| is_due(timer)).map(|(id, _)| *id).collect()
        };
        for id in due {
            let (callback, data) = {
                let mut registered = self.registered();
                // An earlier one may have changed or removed it.
                let Some(timer) = registered.timers.get_mut(&id) else { continue };
                let Some(interval) = timer.interval.filter(|_| timer.due.is_some_and(|due| due <= now))
                else {
                    continue;
                };
                timer.due = Instant::now().checked_add(interval);
                (timer.callback, timer.opaque.data)
            };
            // SAFETY: what is removed meanwhile is freed by this thread, later.
            unsafe { callback(id, data) };
        }
    }

    /// Asks the queue for what a handle waits for.
    fn watch(&self, id: c_int, handle: &Handle) -> io::Result<()> {
        // SAFETY: libvirt removes a descriptor before it closes it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(handle.descriptor) };
        self.poller.modify(descriptor, interest(id, handle.wanted))
    }

    fn wake(&self) {
        // Without it the thread would wake later. Nothing can be done about it.
        let _ = self.poller.notify();
    }
}

fn bit(flag: sys::virEventHandleType) -> c_int {
    c_int::try_from(flag).unwrap_or(0)
}

/// What libvirt waits for, for the queue.
fn interest(id: c_int, wanted: c_int) -> Event {
    let readable = wanted & bit(sys::VIR_EVENT_HANDLE_READABLE) != 0;
    let writable = wanted & bit(sys::VIR_EVENT_HANDLE_WRITABLE) != 0;
    Event::new(usize::try_from(id).unwrap_or(0), readable, writable)
}

/// What the queue tells, for libvirt. The end of a connection and an error are told whether they were asked for or not.
fn happened(event: Event, wanted: c_int) -> c_int {
    let asked_for =
        [(event.readable, sys::VIR_EVENT_HANDLE_READABLE), (event.writable, sys::VIR_EVENT_HANDLE_WRITABLE)];
    let always = [
        (event.is_err() == Some(true), sys::VIR_EVENT_HANDLE_ERROR),
        (event.is_interrupt(), sys::VIR_EVENT_HANDLE_HANGUP),
    ];
    let bits = |flags: [(bool, sys::virEventHandleType); 2]| {
        flags.into_iter().filter(|(is_so, _)| *is_so).fold(0, |bits, (_, flag)| bits | bit(flag))
    };
    bits(asked_for) & wanted | bits(always)
}

unsafe extern "C" fn add_handle(
    descriptor: c_int,
    wanted: c_int,
    callback: sys::virEventHandleCallback,
    data: *mut c_void,
    free: sys::virFreeCallback,
) -> c_int {
    let (Some(polled), Some(callback)) = (LOOP.get(), callback) else { return -1 };
    let mut registered = polled.registered();
    let id = registered.next_id();
    // SAFETY: libvirt removes a descriptor before it closes it.
    if unsafe { polled.poller.add(descriptor, interest(id, wanted)) }.is_err() {
        return -1;
    }
    registered.handles.insert(id, Handle { descriptor, wanted, callback, opaque: Opaque { data, free } });
    id
}

unsafe extern "C" fn update_handle(id: c_int, wanted: c_int) {
    let Some(polled) = LOOP.get() else { return };
    let mut registered = polled.registered();
    let Some(handle) = registered.handles.get_mut(&id) else { return };
    handle.wanted = wanted;
    let _ = polled.watch(id, handle);
}

unsafe extern "C" fn remove_handle(id: c_int) -> c_int {
    let Some(polled) = LOOP.get() else { return -1 };
    let mut registered = polled.registered();
    let Some(handle) = registered.handles.remove(&id) else { return -1 };
    // SAFETY: libvirt removes a descriptor before it closes it.
    let _ = polled.poller.delete(unsafe { BorrowedFd::borrow_raw(handle.descriptor) });
    registered.removed.push(handle.opaque);
    drop(registered);
    polled.wake();
    0
}

unsafe extern "C" fn add_timeout(
    milliseconds: c_int,
    callback: sys::virEventTimeoutCallback,
    data: *mut c_void,
    free: sys::virFreeCallback,
) -> c_int {
    let (Some(polled), Some(callback)) = (LOOP.get(), callback) else { return -1 };
    let mut timer = Timer { interval: None, due: None, callback, opaque: Opaque { data, free } };
    timer.set(milliseconds);
    let mut registered = polled.registered();
    let id = registered.next_id();
    let is_too_late = registered.sleeps_past(timer.due);
    registered.timers.insert(id, timer);
    drop(registered);
    if is_too_late {
        polled.wake();
    }
    id
}

unsafe extern "C" fn update_timeout(id: c_int, milliseconds: c_int) {
    let Some(polled) = LOOP.get() else { return };
    let mut registered = polled.registered();
    let Some(timer) = registered.timers.get_mut(&id) else { return };
    timer.set(milliseconds);
    let due = timer.due;
    let is_too_late = registered.sleeps_past(due);
    drop(registered);
    if is_too_late {
        polled.wake();
    }
}

unsafe extern "C" fn remove_timeout(id: c_int) -> c_int {
    let Some(polled) = LOOP.get() else { return -1 };
    let mut registered = polled.registered();
    let Some(timer) = registered.timers.remove(&id) else { return -1 };
    registered.removed.push(timer.opaque);
    drop(registered);
    polled.wake();
    0
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::thread::ThreadId;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    /// Long enough for what must not happen to show, on an idle machine at least.
    const QUIET: Duration = Duration::from_millis(100);

    /// What a callback tells: the bits, and where it was called.
    type Told = (c_int, ThreadId);

    struct Data {
        told: Sender<Told>,
        freed: Arc<AtomicUsize>,
    }

    unsafe extern "C" fn on_handle(_: c_int, _: c_int, bits: c_int, data: *mut c_void) {
        let data = unsafe { &*data.cast::<Data>() };
        let _ = data.told.send((bits, std::thread::current().id()));
    }

    unsafe extern "C" fn on_timer(_: c_int, data: *mut c_void) {
        let data = unsafe { &*data.cast::<Data>() };
        let _ = data.told.send((0, std::thread::current().id()));
    }

    unsafe extern "C" fn on_free(data: *mut c_void) {
        let data = unsafe { Box::from_raw(data.cast::<Data>()) };
        data.freed.fetch_add(1, Ordering::SeqCst);
    }

    fn data() -> (*mut c_void, Receiver<Told>, Arc<AtomicUsize>) {
        super::super::ensure().unwrap();
        let (told, hears) = channel();
        let freed = Arc::new(AtomicUsize::new(0));
        (Box::into_raw(Box::new(Data { told, freed: Arc::clone(&freed) })).cast(), hears, freed)
    }

    /// The sender is in what was freed: a channel that ends says that it was.
    fn is_freed_once(hears: &Receiver<Told>, freed: &AtomicUsize) {
        while hears.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Disconnected) {}
        assert_eq!(freed.load(Ordering::SeqCst), 1);
    }

    fn watched(end: &UnixStream, wanted: sys::virEventHandleType, data: *mut c_void) -> c_int {
        let id = unsafe {
            sys::virEventAddHandle(end.as_raw_fd(), bit(wanted), Some(on_handle), data, Some(on_free))
        };
        assert!(id > 0);
        id
    }

    #[test]
    fn a_descriptor_is_told_of_while_it_is_waited_for_and_freed_once_when_it_is_removed() {
        let (data, hears, freed) = data();
        let (mut here, there) = UnixStream::pair().unwrap();
        let id = watched(&there, sys::VIR_EVENT_HANDLE_READABLE, data);
        here.write_all(b"x").unwrap();
        // It stays readable, and is told again and again.
        for _ in 0..3 {
            let (bits, thread) = hears.recv_timeout(PATIENCE).unwrap();
            assert_eq!(bits, bit(sys::VIR_EVENT_HANDLE_READABLE));
            assert_ne!(thread, std::thread::current().id());
        }
        unsafe { sys::virEventUpdateHandle(id, 0) };
        // One may have been under way.
        while hears.recv_timeout(QUIET).is_ok() {}
        assert_eq!(hears.recv_timeout(QUIET), Err(RecvTimeoutError::Timeout));
        unsafe { sys::virEventUpdateHandle(id, bit(sys::VIR_EVENT_HANDLE_READABLE)) };
        hears.recv_timeout(PATIENCE).unwrap();
        assert_eq!(unsafe { sys::virEventRemoveHandle(id) }, 0);
        is_freed_once(&hears, &freed);
        assert_eq!(unsafe { sys::virEventRemoveHandle(id) }, -1);
    }

    #[test]
    fn the_end_of_a_connection_is_told_also_to_who_does_not_ask_for_it() {
        let (data, hears, freed) = data();
        let (here, there) = UnixStream::pair().unwrap();
        let id = watched(&there, sys::VIR_EVENT_HANDLE_READABLE, data);
        drop(here);
        let (bits, _) = hears.recv_timeout(PATIENCE).unwrap();
        assert_ne!(bits & bit(sys::VIR_EVENT_HANDLE_HANGUP), 0, "{bits:#x}");
        unsafe { sys::virEventRemoveHandle(id) };
        is_freed_once(&hears, &freed);
    }

    #[test]
    fn a_timer_comes_again_rests_and_comes_earlier_than_it_was_set_to() {
        let (data, hears, freed) = data();
        let id = unsafe { sys::virEventAddTimeout(3_600_000, Some(on_timer), data, Some(on_free)) };
        assert_eq!(hears.recv_timeout(QUIET), Err(RecvTimeoutError::Timeout));
        unsafe { sys::virEventUpdateTimeout(id, 1) };
        for _ in 0..3 {
            hears.recv_timeout(PATIENCE).unwrap();
        }
        unsafe { sys::virEventUpdateTimeout(id, -1) };
        while hears.recv_timeout(QUIET).is_ok() {}
        unsafe { sys::virEventUpdateTimeout(id, 0) };
        hears.recv_timeout(PATIENCE).unwrap();
        assert_eq!(unsafe { sys::virEventRemoveTimeout(id) }, 0);
        is_freed_once(&hears, &freed);
    }
}
