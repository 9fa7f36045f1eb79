//! The one engine configuration. Compiled code is bound to it: a changed number here recompiles everything.
//!
//! Must never be configured a second time in another way: what one part compiles, another maps.

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use podium_capabilities::limits::{MEMORY_BYTES_CAP, TABLE_ELEMENTS_MAX};

use crate::room::{MEMORIES_PER_COMPONENT, TABLES_PER_COMPONENT, TABLES_PER_PLACE};

/// Core instances of one component: a Python component has about 35.
const CORE_INSTANCES_PER_COMPONENT: u32 = 48;
/// Engine metadata of one component instance.
const COMPONENT_INSTANCE_BYTES_MAX: usize = 1024 * 1024;
/// Memory of a slot that stays resident between guests, so that the next one does not fault it in again; with
/// the page-map scan it halves a fresh turn.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 2 * 1024 * 1024;
/// The same of a table: it is a few pages.
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 * 1024;
/// The same of a fiber's stack: what a turn usually touches.
const STACK_KEEP_RESIDENT_BYTES: usize = 64 * 1024;
/// Wasm's part of a stack: deep recursion of an interpreter fits, endless recursion traps.
const WASM_STACK_BYTES: usize = 1024 * 1024;
/// A fiber's whole stack: wasm's part and as much for host calls.
const FIBER_STACK_BYTES: usize = 2 * 1024 * 1024;
/// Unused slots that keep the pages of a component they ran last.
const WARM_SLOTS_MAX: u32 = 256;

/// The engine could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the wasm engine cannot be made: {0}")]
pub struct EngineError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl EngineError {
    pub(crate) fn new(error: wasmtime::Error) -> Self {
        Self(error.into())
    }
}

/// How much of everything an engine has for guests.
#[derive(Debug, Clone, Copy)]
struct Stock {
    guests: u32,
    core_instances: u32,
    memories: u32,
    tables: u32,
    stacks: u32,
}

/// Makes the engine, with a pool for guests that take so many places ([`crate::room::places`]): whatever has its places
/// finds all that it needs. Memories and tables are address space until they are used, core instances only a count.
pub(crate) fn build(places: usize) -> Result<Engine, EngineError> {
    let places = u32::try_from(places).unwrap_or(u32::MAX);
    with_stock(Stock {
        guests: places,
        core_instances: places.saturating_mul(CORE_INSTANCES_PER_COMPONENT),
        memories: places.max(MEMORIES_PER_COMPONENT),
        tables: places.saturating_mul(TABLES_PER_PLACE).max(TABLES_PER_COMPONENT),
        // A guest whose instances wait within each other holds more than one; one alone always finds enough.
        stacks: places.saturating_add(CORE_INSTANCES_PER_COMPONENT),
    })
}

/// Makes one that only compiles, for the same code: its room would count as memory of a process that is bounded.
pub(crate) fn build_compiler() -> Result<Engine, EngineError> {
    with_stock(Stock { guests: 1, core_instances: 1, memories: 1, tables: 1, stacks: 1 })
}

fn with_stock(stock: Stock) -> Result<Engine, EngineError> {
    let slot_bytes = usize::try_from(MEMORY_BYTES_CAP).unwrap_or(usize::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(stock.guests)
        .total_core_instances(stock.core_instances)
        .total_memories(stock.memories)
        .total_tables(stock.tables)
        .total_stacks(stock.stacks)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_component_instance_size(COMPONENT_INSTANCE_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(slot_bytes)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(WARM_SLOTS_MAX)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .memory_reservation(MEMORY_BYTES_CAP)
        .memory_init_cow(true)
        // Where an `.wasm` carries names and lines, a trap's trace shows them, whatever the environment says.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).map_err(EngineError::new)
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    #[test]
    fn what_one_compiles_the_other_maps() {
        let said = |engine: &Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let (engine, compiler) = (build(10).expect("makes"), build_compiler().expect("makes"));
        assert_eq!(said(&engine), said(&compiler));
    }
}
