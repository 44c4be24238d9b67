//! Answers and files that no supervisord gives: the real ones, damaged. Whatever comes, it is read or refused.

use std::path::Path;

use substrate_conformance::hostile::Hostile;
use substrate_core::{Error, Labels};

use crate::client::{answer_of, read_answer};
use crate::config::parse_url;
use crate::convert::change::{Glimpse, Picture, changes};
use crate::convert::ini;
use crate::convert::lines::LineAssembler;
use crate::convert::process::{Process, unloaded};
use crate::convert::record::{Record, new_key};
use crate::convert::usage::{Stat, boot_time, is_same_start, resident_kib};
use crate::convert::value::array;
use crate::name::{Target, is_creatable, split_id};

fn answers() -> Hostile {
    Hostile::new([
        include_str!("../tests/corpus/processes.xml"),
        include_str!("../tests/corpus/batch.xml"),
        include_str!("../tests/corpus/log.xml"),
        include_str!("../tests/corpus/fault.xml"),
        include_str!("../tests/corpus/version.xml"),
    ])
}

fn record() -> Record {
    Record {
        name: "web".to_owned(),
        key: new_key(),
        image: Some("/usr/bin/python3".to_owned()),
        labels: [("role", "größe ☃")].into_iter().collect(),
        metadata: [("n".to_owned(), serde_json::json!({"a": [1, 2.5]}))].into(),
        autorestart: crate::Autorestart::Unexpected,
        stopsignal: crate::StopSignal::Int,
        logs: vec!["/var/log/web.log".to_owned()],
        created_at: None,
    }
}

#[test]
fn answers_of_xml_rpc() {
    answers().check_text(|text| {
        let value = match read_answer("list the processes", text)? {
            Ok(value) => value,
            Err(fault) => return Err(fault.into_error("list the processes")),
        };
        let mut picture = Picture::new();
        for value in array(value).unwrap_or_default() {
            if let Err(fault) = answer_of(value.clone()) {
                return Err(fault.into_error("list the processes"));
            }
            let instance = Process::read(&value)?.into_instance(None)?;
            serde_json::to_string(&instance).expect("an instance as JSON");
            picture.insert(instance.name.as_str().to_owned(), Glimpse::of(&instance));
        }
        assert!(changes(&Picture::new(), &picture).len() <= 3 * picture.len());
        Ok::<_, Error>(())
    });
}

#[test]
fn records_that_somebody_changed() {
    let file =
        format!("{}[program:web]\ncommand=/usr/bin/python3 -m http.server\n", record().line().unwrap());
    Hostile::new([file]).check_text(|text| {
        if let Some(record) = Record::read("substrate-web.conf", text)? {
            unloaded(&record)?;
        }
        Ok::<_, Error>(())
    });
}

#[test]
fn records_come_back_as_they_were() {
    Hostile::texts().check_text(|word| {
        let labels: Labels = [(word, word)].into_iter().collect();
        let record = Record { name: word.to_owned(), image: Some(word.to_owned()), labels, ..record() };
        let line = record.line().unwrap();
        assert!(line.is_ascii() && line.ends_with('\n') && line.lines().count() == 1);
        assert_eq!(Record::read("x", &line).unwrap().unwrap(), record);
        Ok::<_, Error>(())
    });
}

#[test]
fn values_of_a_configuration_stay_values() {
    Hostile::texts().check_text(|word| {
        // A line that is not indented would be a setting of its own, or a section.
        let stays = |value: &str| {
            value.split('\n').skip(1).all(|line| line.starts_with(' ')) && !value.contains('\r')
        };
        let command = ini::command(&[word.to_owned(), word.to_owned()])?;
        assert!(stays(&command), "{command:?}");
        let environment = ini::environment([("KEY", word)].into_iter())?;
        assert!(stays(&environment), "{environment:?}");
        let plain = ini::plain("directory", word)?;
        assert!(!plain.contains('\n'));
        Ok::<_, Error>(())
    });
}

#[test]
fn names_and_addresses() {
    Hostile::new(["web", "pool:web", "pool:*", "web:web@0123456789abcdef"]).check_text(|text| {
        if let Target::One(address) = Target::of(text) {
            assert_eq!(Target::of(&address.namespec()), Target::One(address));
        }
        if is_creatable(text) {
            assert_eq!(Path::new(text).components().count(), 1);
        }
        split_id(text).map(drop).ok_or("no id")
    });
    Hostile::new(["unix:///var/run/supervisor.sock", "http://127.0.0.1:9001/RPC2", "http://[::1]:99"])
        .check_text(parse_url);
}

#[test]
fn what_the_kernel_tells() {
    let stat = "4711 (py) thon) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 8910 1024 25 0";
    Hostile::new([stat, "cpu 1 2 3\nbtime 1795219100\n", "Name:\tweb\nVmRSS:\t  1024 kB\n"]).check_text(
        |text| {
            let _ = (resident_kib(text), boot_time(text).map(|boot| is_same_start(boot, u64::MAX, 1)));
            Stat::read(text).map(Stat::cpu_time).ok_or("no stat")
        },
    );
}

#[test]
fn logs_in_any_pieces() {
    Hostile::new(["one\r\ntwo\n\nthree", "\n\n"]).check(|bytes| {
        let (mut whole, mut pieces) = (LineAssembler::default(), LineAssembler::default());
        whole.push(bytes);
        bytes.chunks(7).for_each(|piece| pieces.push(piece));
        whole.finish();
        pieces.finish();
        assert_eq!(whole.len(), pieces.len());
        while let Some(line) = whole.next() {
            assert_eq!(Some(line), pieces.next());
        }
        Ok::<_, String>(())
    });
}

#[test]
fn a_process_of_the_largest_numbers_is_no_reason_to_panic() {
    let most = u64::MAX;
    let stat = format!("1 (web) S 1 1 1 0 -1 0 1 2 3 4 {most} {most} {most} {most} 20 0 1 0 {most} 1 1 0");
    assert_eq!(Stat::read(&stat).unwrap().ticks, most);
    assert!(!is_same_start(most, most, 1));
}
