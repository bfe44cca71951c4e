//! What a guest does without the world: compute, allocate, end, and knock at WASI's doors.

use std::hint::black_box;
use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use core::arch::wasm32::{memory_grow, memory_size, unreachable};
use serde_json::{Value, json};

use crate::read::Args;
use crate::tell;
use crate::world::Done;

unsafe extern "C" {
    #[link_name = "write"]
    fn libc_write(descriptor: i32, from: *const u8, length: usize) -> isize;
    fn getentropy(into: *mut u8, length: usize) -> i32;
}

/// One write, which the buffers of the standard library would not promise.
pub fn write(descriptor: i32, text: &str) {
    unsafe { libc_write(descriptor, text.as_ptr(), text.len()) };
}

/// None if there is no such function.
pub fn call(name: &str, args: &Args) -> Option<Done> {
    named(name, args).transpose()
}

fn named(name: &str, args: &Args) -> Result<Option<Result<Value, String>>, String> {
    let done = match name {
        "spin" => Ok(json!(spin(args.number(0)?))),
        "memory.size" => Ok(json!(memory_size(0))),
        "memory.grow" => match memory_grow(0, args.number(0)? as usize) {
            usize::MAX => Err("refused".into()),
            before => Ok(json!(before)),
        },
        "stdout.write" => Ok(json!(write(1, &args.text(0)?))),
        "stderr.write" => Ok(json!(write(2, &args.text(0)?))),
        "stdin.read" => stdin(),
        "env.vars" => Ok(json!(std::env::vars().collect::<Vec<_>>())),
        "env.args" => Ok(json!(std::env::args().collect::<Vec<_>>())),
        "files.preopens" => Ok(files()),
        "clock.now" => Ok(json!(now())),
        "clock.sleep" => Ok(json!(std::thread::sleep(Duration::from_millis(args.number(0)?)))),
        "random.bytes" => random(args.number(0)? as usize),
        "net.connect" => connect(&args.text(0)?),
        "net.resolve" => resolve(&args.text(0)?),
        _ => return Ok(None),
    };
    Ok(Some(done))
}

fn spin(milliseconds: u64) -> u64 {
    let until = Instant::now() + Duration::from_millis(milliseconds);
    let mut sum = 0;
    while Instant::now() < until {
        for step in 0..10_000_u64 {
            sum = black_box(sum ^ step.wrapping_mul(31));
        }
    }
    sum & 1
}

fn stdin() -> Result<Value, String> {
    let mut all = Vec::new();
    let read = std::io::stdin().read_to_end(&mut all);
    read.map(|_| tell::bytes(&all)).map_err(|error| error.to_string())
}

fn files() -> Value {
    let names = std::fs::read_dir("/").map(|found| {
        found.flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect()
    });
    json!({
        "names": names.unwrap_or_else(|_| Vec::<String>::new()),
        "writable": std::fs::write("/written", "x").is_ok(),
    })
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn random(length: usize) -> Result<Value, String> {
    let mut filled = vec![0; length.min(256)];
    match unsafe { getentropy(filled.as_mut_ptr(), filled.len()) } {
        0 => Ok(tell::bytes(&filled)),
        code => Err(code.to_string()),
    }
}

fn connect(address: &str) -> Result<Value, String> {
    TcpStream::connect(address).map(|_| Value::Null).map_err(|error| error.to_string())
}

fn resolve(name: &str) -> Result<Value, String> {
    let found = name.to_socket_addrs().map_err(|error| error.to_string())?;
    Ok(found.map(|address| address.to_string()).collect())
}

/// What comes after the calls; most of it does not return.
pub fn then(what: &Value) -> Result<(), String> {
    if let Some(milliseconds) = what["sleep"].as_u64() {
        std::thread::sleep(Duration::from_millis(milliseconds));
        return Ok(());
    }
    if let Some(milliseconds) = what["spin"].as_u64() {
        spin(milliseconds);
        return Ok(());
    }
    if let Some(code) = what["exit"].as_i64() {
        std::process::exit(code as i32);
    }
    match what.as_str() {
        None if what.is_null() => Ok(()),
        Some("trap") => unreachable(),
        Some("panic") => panic!("as it was asked to"),
        Some("loop") => loop {
            black_box(());
        },
        Some("recurse") => {
            black_box(recurse(0));
            Ok(())
        }
        Some("grow") => hog(),
        Some("exit") => std::process::exit(0),
        _ => Err(format!("there is no such then: {what}")),
    }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let held = black_box([depth; 16]);
    recurse(depth + 1) + held[0]
}

fn hog() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; 1 << 20]));
    }
}
