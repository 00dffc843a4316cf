//! Names of types against a program that has one of each kind and says what it should be called: `tests/targets/names.cs`.
#![allow(clippy::unwrap_used)]

use leakhound_clr::{Options, Runtime};
use leakhound_dump::FileSearch;
use leakhound_testbed::{Version, dumps, runtimes, targets};

fn check(version: Version) {
    let root = runtimes::get(version).unwrap();
    let service = targets::app("names").unwrap().on(&root).start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heap.core");
    dumps::createdump(&root, service.pid(), dumps::Kind::Heap, &file).unwrap();
    let image = leakhound_dump::open_with(
        leakhound_archive::open_readable(&file).unwrap(),
        &leakhound_dump::Options {
            files: Some(FileSearch::this_machine()),
            ..Default::default()
        },
    )
    .unwrap();
    let runtime = Runtime::open(&image, &Options::default()).unwrap();
    let mut wrong = Vec::new();
    let names = service.report()["names"].as_array().unwrap();
    assert!(names.len() > 40);
    for expected in names {
        let name = expected["name"].as_str().unwrap();
        let table = expected["method_table"].as_str().unwrap();
        let table = u64::from_str_radix(&table[2..], 16).unwrap();
        let info = runtime
            .type_of_table(table)
            .and_then(|id| runtime.type_info(id));
        let found = info.map_or_else(|| "nothing".to_owned(), |i| i.name.clone());
        if found != name {
            wrong.push(format!("{name} is called {found}"));
        }
    }
    let statics: Vec<String> = runtime.statics().into_iter().map(|s| s.name).collect();
    for name in [
        "Shop.Names.Catalog.Gate",
        "Shop.Names.Shown.All",
        "lambdas in Shop.Names.Till",
        "cached lambda in Shop.Names.Till.Static",
        "cached lambda in Shop.Names.Catalog.Fill",
        "cached delegate of Parse in Shop.Names.Till",
    ] {
        if !statics.iter().any(|s| s == name) {
            let own = statics.iter().filter(|s| s.contains("Shop.Names"));
            wrong.push(format!("no static {name} in {:?}", own.collect::<Vec<_>>()));
        }
    }
    assert!(wrong.is_empty(), "{version}:\n{}", wrong.join("\n"));
}

macro_rules! on_every_runtime {
    ($($name:ident: $version:ident),*) => {$(
        #[test]
        fn $name() {
            check(Version::$version);
        }
    )*};
}

on_every_runtime!(net31: Net31, net8: Net8, net9: Net9, net10: Net10);
