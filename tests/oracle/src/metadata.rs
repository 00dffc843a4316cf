//! IMetaDataImport: names of fields, by the library's own reader of metadata.
//!
//! Declaration: dotnet/runtime src/coreclr/inc/cor.h.

use crate::com::{Guid, HResult, Interface, S_OK};
use anyhow::{Context, Result, bail};
use std::ffi::c_void;

const IID_IMPORT: Guid = Guid(
    0x7dac_8207,
    0xd3ae,
    0x4c75,
    [0x9b, 0x67, 0x92, 0x80, 0x1a, 0x49, 0x7d, 0x44],
);
const NAME_CHARS: usize = 1024;
/// fdHasFieldRVA: the value is a part of the image.
const IN_IMAGE: u32 = 0x100;

/// Fields of one module.
pub struct FieldNames(Interface);

/// What metadata says of a field.
#[derive(Debug)]
pub struct FieldName {
    pub name: String,
    /// Its value lies in the image, not among the statics.
    pub in_image: bool,
}

impl FieldNames {
    /// Of the module behind an IXCLRDataModule.
    pub fn of(module: &Interface) -> Result<Self> {
        let import = module.query(&IID_IMPORT);
        import
            .map(Self)
            .context("the module gives no IMetaDataImport")
    }

    /// The field with that token.
    pub fn get(&self, token: u32) -> Result<FieldName> {
        type Props = unsafe extern "C" fn(
            *mut c_void,
            u32,
            *mut u32,
            *mut u16,
            u32,
            *mut u32,
            *mut u32,
            *mut *const u8,
            *mut u32,
            *mut u32,
            *mut *const c_void,
            *mut u32,
        ) -> HResult;
        let mut name = [0_u16; NAME_CHARS];
        let (mut class, mut length, mut flags) = (0, 0, 0);
        let (mut signature, mut signature_bytes) = (std::ptr::null(), 0);
        let (mut constant_kind, mut constant, mut constant_chars) = (0, std::ptr::null(), 0);
        // SAFETY: slot 57 is GetFieldProps, declared so; every pointer is a valid place for its answer.
        let result = unsafe {
            let call: Props = self.0.slot(57);
            call(
                self.0.this(),
                token,
                &mut class,
                name.as_mut_ptr(),
                NAME_CHARS as u32,
                &mut length,
                &mut flags,
                &mut signature,
                &mut signature_bytes,
                &mut constant_kind,
                &mut constant,
                &mut constant_chars,
            )
        };
        if result != S_OK {
            bail!("GetFieldProps of {token:#x}: {result:#x}");
        }
        let end = name.iter().position(|unit| *unit == 0).unwrap_or(0);
        Ok(FieldName {
            name: String::from_utf16_lossy(&name[..end]),
            in_image: flags & IN_IMAGE != 0,
        })
    }
}
