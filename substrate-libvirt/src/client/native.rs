//! The C functions that the binding has no safe or no correct form of. All of this crate's `unsafe` is here.
//!
//! What each block relies on: pointers handed out by a binding's handle are valid while the handle lives; arrays
//! and strings that the library returns are freed by the function that its documentation names; a callback is
//! called with the `opaque` that it was registered with until its free function was called, on the thread of the
//! event loop, and must neither block nor unwind into C.
#![allow(unsafe_code, reason = "the one place for it")]

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

/// Something that the event loop tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NativeEvent {
    /// A `virDomainEventType` with its detail.
    Lifecycle { name: String, uuid: String, event: i32, detail: i32 },
    /// The guest agent came or went.
    Agent { name: String, connected: bool },
    /// A device is gone from a running domain.
    DeviceRemoved { name: String, alias: String },
    /// The definition's metadata changed.
    Metadata { name: String, uuid: String },
    /// The connection is closed: nothing more will come over it.
    Lost { reason: &'static str },
}

/// Where events go. Called on the thread of the event loop: it must not block.
pub(crate) type Sink = dyn Fn(NativeEvent) + Send + Sync;

/// What a callback is called with. Counted: the library has a reference of its own, which it gives back by
/// [`release`].
struct Opaque(Arc<Sink>);

impl Opaque {
    fn lend(self: &Arc<Self>) -> *mut c_void {
        Arc::into_raw(Arc::clone(self)).cast_mut().cast()
    }
}

/// A panic must not cross into C; the sink is ours and has no reason to.
unsafe fn deliver(opaque: *mut c_void, event: NativeEvent) {
    let Some(opaque) = (unsafe { opaque.cast::<Opaque>().as_ref() }) else { return };
    let _ = catch_unwind(AssertUnwindSafe(|| (opaque.0)(event)));
}

unsafe extern "C" fn release(opaque: *mut c_void) {
    drop(unsafe { Arc::from_raw(opaque.cast_const().cast::<Opaque>()) });
}

unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

unsafe fn name_of(domain: sys::virDomainPtr) -> String {
    unsafe { text(sys::virDomainGetName(domain)) }
}

unsafe fn uuid_of(domain: sys::virDomainPtr) -> String {
    // 36 characters and the end.
    let mut buffer = [0 as c_char; 37];
    if unsafe { sys::virDomainGetUUIDString(domain, buffer.as_mut_ptr()) } < 0 {
        return String::new();
    }
    unsafe { text(buffer.as_ptr()) }
}

unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    unsafe {
        let (name, uuid) = (name_of(domain), uuid_of(domain));
        deliver(opaque, NativeEvent::Lifecycle { name, uuid, event, detail });
    }
    0
}

unsafe extern "C" fn on_agent(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    state: c_int,
    _: c_int,
    opaque: *mut c_void,
) {
    // VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
    unsafe { deliver(opaque, NativeEvent::Agent { name: name_of(domain), connected: state == 1 }) };
}

unsafe extern "C" fn on_device_removed(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    alias: *const c_char,
    opaque: *mut c_void,
) {
    unsafe { deliver(opaque, NativeEvent::DeviceRemoved { name: name_of(domain), alias: text(alias) }) };
}

unsafe extern "C" fn on_metadata(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: c_int,
    _: *const c_char,
    opaque: *mut c_void,
) {
    unsafe { deliver(opaque, NativeEvent::Metadata { name: name_of(domain), uuid: uuid_of(domain) }) };
}

unsafe extern "C" fn on_close(_: sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    let reason = match u32::try_from(reason).unwrap_or(u32::MAX) {
        sys::VIR_CONNECT_CLOSE_REASON_EOF => "the server closed the connection",
        sys::VIR_CONNECT_CLOSE_REASON_KEEPALIVE => "the server stopped answering keepalive messages",
        sys::VIR_CONNECT_CLOSE_REASON_CLIENT => "the connection was closed here",
        _ => "the connection broke",
    };
    unsafe { deliver(opaque, NativeEvent::Lost { reason }) };
}

/// What was registered on a connection. It has to be taken off before the connection can close: each callback
/// holds a reference to it.
#[derive(Default)]
pub(crate) struct Callbacks {
    events: Vec<c_int>,
    /// Not the events' own, so that its count tells whether the library still has it.
    close: Option<Arc<Opaque>>,
}

/// Registers for everything that a watch tells. Kinds that the driver does not have are left out; without
/// lifecycle events it is an error.
pub(crate) fn register(connect: &Connect, sink: &Arc<Sink>) -> Result<Callbacks, Error> {
    let mut callbacks = Callbacks::default();
    // SAFETY: C has one type for callbacks of every kind and calls each with the arguments of its kind; the
    // functions above have those arguments.
    let kinds: [(sys::virDomainEventID, sys::virConnectDomainEventGenericCallback); 4] = unsafe {
        use std::mem::transmute;
        type Lifecycle =
            unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
        type Agent = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void);
        type Device = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *const c_char, *mut c_void);
        type Metadata =
            unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, *const c_char, *mut c_void);
        type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);
        [
            (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, Some(transmute::<Lifecycle, Generic>(on_lifecycle))),
            (sys::VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, Some(transmute::<Agent, Generic>(on_agent))),
            (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, Some(transmute::<Device, Generic>(on_device_removed))),
            (sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, Some(transmute::<Metadata, Generic>(on_metadata))),
        ]
    };
    let shared = Arc::new(Opaque(Arc::clone(sink)));
    for (kind, callback) in kinds {
        let opaque = shared.lend();
        let id = unsafe {
            sys::virConnectDomainEventRegisterAny(
                connect.as_ptr(),
                ptr::null_mut(),
                kind as c_int,
                callback,
                opaque,
                Some(release),
            )
        };
        if id >= 0 {
            callbacks.events.push(id);
            continue;
        }
        let error = Error::last_error();
        unsafe { release(opaque) };
        if kind == sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE {
            deregister(connect, &mut callbacks);
            return Err(error);
        }
    }
    let close = Arc::new(Opaque(Arc::clone(sink)));
    let opaque = close.lend();
    let registered = unsafe {
        sys::virConnectRegisterCloseCallback(connect.as_ptr(), Some(on_close), opaque, Some(release))
    };
    if registered < 0 {
        unsafe { release(opaque) };
    } else {
        callbacks.close = Some(close);
    }
    Ok(callbacks)
}

/// Takes off what was registered. On a connection that is lost already nothing is left to be told of a failure.
pub(crate) fn deregister(connect: &Connect, callbacks: &mut Callbacks) {
    for id in callbacks.events.drain(..) {
        unsafe { sys::virConnectDomainEventDeregisterAny(connect.as_ptr(), id) };
    }
    let Some(close) = callbacks.close.take() else { return };
    let taken_off = unsafe { sys::virConnectUnregisterCloseCallback(connect.as_ptr(), Some(on_close)) } == 0;
    // A driver within this process has no connection that could close: it answers that it registered, keeps nothing
    // and gives nothing back. Where taking it off failed, the library gives it back when the connection ends.
    if taken_off && Arc::strong_count(&close) > 1 {
        unsafe { release(Arc::as_ptr(&close).cast_mut().cast()) };
    }
}

/// A domain's state and the reason for it. Not the binding's own method: its version 0.5.0 takes a failure for an
/// unknown state.
pub(crate) fn state(domain: &Domain) -> Result<(i32, i32), Error> {
    let (mut state, mut reason) = (0, 0);
    if unsafe { sys::virDomainGetState(domain.as_ptr(), &raw mut state, &raw mut reason, 0) } < 0 {
        return Err(Error::last_error());
    }
    Ok((state, reason))
}

/// One figure of the statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Figure {
    Number(i128),
    Text(String),
}

/// A domain's statistics by their names, such as `cpu.time` and `net.0.name`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statistics {
    pub(crate) uuid: String,
    figures: HashMap<String, Figure>,
}

impl Statistics {
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        match self.figures.get(key)? {
            Figure::Number(number) => u64::try_from(*number).ok(),
            Figure::Text(_) => None,
        }
    }

    #[cfg(test)]
    pub(crate) fn of(figures: impl IntoIterator<Item = (&'static str, i128)>) -> Self {
        let figures = figures.into_iter().map(|(key, value)| (key.to_owned(), Figure::Number(value)));
        Self { uuid: String::new(), figures: figures.collect() }
    }
}

unsafe fn record(record: &sys::virDomainStatsRecord) -> Statistics {
    let mut figures = HashMap::new();
    let count = usize::try_from(record.nparams).unwrap_or(0);
    let parameters = if record.params.is_null() {
        &[]
    } else {
        unsafe { std::slice::from_raw_parts(record.params, count) }
    };
    for parameter in parameters {
        let key = unsafe { text(parameter.field.as_ptr()) };
        let value = parameter.value;
        let figure = unsafe {
            match u32::try_from(parameter.type_).unwrap_or(0) {
                sys::VIR_TYPED_PARAM_INT => Figure::Number(i128::from(value.i)),
                sys::VIR_TYPED_PARAM_UINT => Figure::Number(i128::from(value.ui)),
                sys::VIR_TYPED_PARAM_LLONG => Figure::Number(i128::from(value.l)),
                sys::VIR_TYPED_PARAM_ULLONG => Figure::Number(i128::from(value.ul)),
                sys::VIR_TYPED_PARAM_BOOLEAN => Figure::Number(i128::from(value.b != 0)),
                sys::VIR_TYPED_PARAM_STRING => Figure::Text(text(value.s)),
                _ => continue,
            }
        };
        figures.insert(key, figure);
    }
    let uuid = unsafe { uuid_of(record.dom) };
    Statistics { uuid, figures }
}

unsafe fn records(count: c_int, list: *mut sys::virDomainStatsRecordPtr) -> Result<Vec<Statistics>, Error> {
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error()) };
    let mut all = Vec::with_capacity(count);
    if !list.is_null() {
        for entry in unsafe { std::slice::from_raw_parts(list, count) } {
            if let Some(entry) = unsafe { entry.as_ref() } {
                all.push(unsafe { record(entry) });
            }
        }
        unsafe { sys::virDomainStatsRecordListFree(list) };
    }
    Ok(all)
}

/// Statistics of every domain in one call.
pub(crate) fn all_statistics(connect: &Connect, kinds: u32) -> Result<Vec<Statistics>, Error> {
    let mut list = ptr::null_mut();
    unsafe {
        let count = sys::virConnectGetAllDomainStats(connect.as_ptr(), kinds, &raw mut list, 0);
        records(count, list)
    }
}

/// Statistics of one domain.
pub(crate) fn statistics(domain: &Domain, kinds: u32) -> Result<Statistics, Error> {
    let mut list = ptr::null_mut();
    let all = unsafe {
        let mut domains = [domain.as_ptr(), ptr::null_mut()];
        let count = sys::virDomainListGetStats(domains.as_mut_ptr(), kinds, &raw mut list, 0);
        records(count, list)
    }?;
    Ok(all.into_iter().next().unwrap_or_default())
}

/// The addresses of a domain's interfaces by hardware address. Not the binding's own method, which never frees
/// what the library allocates for it.
pub(crate) fn addresses(domain: &Domain, source: u32) -> Result<Vec<(String, Vec<IpAddr>)>, Error> {
    let mut list: *mut sys::virDomainInterfacePtr = ptr::null_mut();
    let count = unsafe { sys::virDomainInterfaceAddresses(domain.as_ptr(), &raw mut list, source, 0) };
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error()) };
    let mut found = Vec::with_capacity(count);
    if list.is_null() {
        return Ok(found);
    }
    for entry in unsafe { std::slice::from_raw_parts(list, count) } {
        let Some(interface) = (unsafe { entry.as_ref() }) else { continue };
        let mut addresses = Vec::new();
        if !interface.addrs.is_null() {
            let length = usize::try_from(interface.naddrs).unwrap_or(0);
            for address in unsafe { std::slice::from_raw_parts(interface.addrs, length) } {
                addresses.extend(unsafe { text(address.addr) }.parse::<IpAddr>());
            }
        }
        found.push((unsafe { text(interface.hwaddr) }, addresses));
        unsafe { sys::virDomainInterfaceFree(*entry) };
    }
    unsafe { release_array(list.cast()) };
    Ok(found)
}

/// A value of a parameter, in the type that its function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Unsigned(u32),
    Long(u64),
}

/// Parameters for one call, as the library wants them; freed with it.
struct Parameters {
    list: sys::virTypedParameterPtr,
    count: c_int,
    room: c_int,
}

impl Parameters {
    fn of(settings: &[(&CStr, Setting)]) -> Result<Self, Error> {
        let mut parameters = Self { list: ptr::null_mut(), count: 0, room: 0 };
        for (name, setting) in settings {
            let Self { list, count, room } = &mut parameters;
            let added = unsafe {
                match *setting {
                    Setting::Unsigned(value) => {
                        sys::virTypedParamsAddUInt(list, count, room, name.as_ptr(), value)
                    }
                    Setting::Long(value) => {
                        sys::virTypedParamsAddULLong(list, count, room, name.as_ptr(), value)
                    }
                }
            };
            if added < 0 {
                return Err(Error::last_error());
            }
        }
        Ok(parameters)
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        unsafe { sys::virTypedParamsFree(self.list, self.count) };
    }
}

fn done(result: c_int) -> Result<(), Error> {
    if result < 0 { Err(Error::last_error()) } else { Ok(()) }
}

/// Changes how fast an interface is, which is named by its hardware address.
pub(crate) fn tune_interface(
    domain: &Domain,
    interface: &CStr,
    settings: &[(&CStr, Setting)],
    flags: u32,
) -> Result<(), Error> {
    let parameters = Parameters::of(settings)?;
    done(unsafe {
        let Parameters { list, count, .. } = parameters;
        sys::virDomainSetInterfaceParameters(domain.as_ptr(), interface.as_ptr(), list, count, flags)
    })
}

/// Changes how fast a disk is, which is named by its target.
pub(crate) fn tune_disk(
    domain: &Domain,
    disk: &CStr,
    settings: &[(&CStr, Setting)],
    flags: u32,
) -> Result<(), Error> {
    let parameters = Parameters::of(settings)?;
    done(unsafe {
        let Parameters { list, count, .. } = parameters;
        sys::virDomainSetBlockIoTune(domain.as_ptr(), disk.as_ptr(), list, count, flags)
    })
}

/// Changes a domain's share of the host's disks.
pub(crate) fn tune_disks(domain: &Domain, settings: &[(&CStr, Setting)], flags: u32) -> Result<(), Error> {
    let parameters = Parameters::of(settings)?;
    done(unsafe {
        let Parameters { list, count, .. } = parameters;
        sys::virDomainSetBlkioParameters(domain.as_ptr(), list, count, flags)
    })
}

/// The array itself came from the C library's allocator, which the binding's crate links.
unsafe fn release_array(array: *mut c_void) {
    unsafe extern "C" {
        fn free(pointer: *mut c_void);
    }
    unsafe { free(array) };
}
