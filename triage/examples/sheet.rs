//! temporary
use leakhound_triage::child::{Request,Modules,Strings};
fn main(){ let d=std::env::args().nth(1).unwrap();
 let r=Request{dump:d.into(),manifest:std::env::args().nth(2).map(Into::into),service:None,modules:Modules::Mapped,strings:Strings::Hashed,memory_limit_bytes:4<<30,time_limit_ms:600000};
 let t=std::time::Instant::now();
 let s=leakhound_triage::analyze::analyze(&r,&mut |p| eprintln!("{:?} {:.2} {}",t.elapsed(),p.share,p.stage));
 match s { Ok(s)=>println!("{}",serde_json::to_string_pretty(&s).unwrap()), Err(e)=>eprintln!("ERR {e}") } }
