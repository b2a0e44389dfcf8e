import type { FfnPart, ModelSpec } from '../../model/spec.ts'
import { BlockCosts, nonDecreasing } from '../profile/costs.ts'
import { WIFI, WIFI_SOURCES } from '../profile/devices.ts'
import { extendCurve, extendSurface } from '../profile/extrapolate.ts'
import type { ProfileGrid } from '../profile/grid.ts'
import { PROFILE_SCHEMA } from '../profile/types.ts'
import type { Curve, Figure, Profile, Provenance, Surface } from '../profile/types.ts'
import type { BatchCurve } from './batch.ts'
import type { Bench, MemoryReading } from './blocks.ts'
import { fitLoads } from './loads.ts'
import type { LoadFit, LoadReading } from './loads.ts'
import type { Timing } from './timing.ts'

/** All timings of one run; attention is row-major [knots, units]. */
export interface BlockTimings {
  readonly embed: readonly Timing[]
  readonly prefill: readonly Timing[]
  readonly decode: readonly Timing[]
  readonly ffn: Readonly<Record<FfnPart, readonly Timing[]>>
  readonly head: Timing
}

/** Everything that was measured for a profile. */
interface Measured {
  readonly model: ModelSpec
  readonly grid: ProfileGrid
  readonly bench: Bench
  readonly timings: BlockTimings
  /** Cost of a call without blocks. */
  readonly dispatch: Timing
  /** Additional cost of a call after a pause. */
  readonly wakeSeconds: number
  /** Null if it did not fit the machine's memory. */
  readonly batch: BatchCurve | null
  readonly loads: readonly LoadReading[]
  readonly residents: readonly MemoryReading[]
  /** Null if no energy counter can be read; not measured is never 0. */
  readonly busyWatts: number | null
  readonly idleWatts: number | null
  readonly decisionSeconds: number | null
  readonly messageSeconds: number | null
}

/** Share of the machine's memory that weights and caches may take. */
const MEMORY_SHARE = 0.75
const ASSUMED_DECISION_SECONDS = 1e-3
/** A desktop-class package: idle power, and the additional power of one busy core. */
const MODELLED_IDLE_WATTS = 5
const MODELLED_CORE_WATTS = 10
const BATCH_SIZES = 8
const BATCH_CONTEXT_TOKENS = 512
/** Smaller weights cannot be distinguished from the process's other memory. */
const RESIDENT_BYTES = 1e6

/** Assembles a profile; figures that were not measured are marked modelled or assumed. */
export function assembleProfile(measured: Measured): Profile {
  const { model, grid, bench, timings } = measured
  const { engine, host, threads } = bench
  const source = `timed by edgewise on this device with ${engine.info.name} ${engine.info.version}, ${threads} thread(s), ${bench.clock.wallTime()}`
  const provenance: Provenance = { kind: 'measured', source }
  const { contextTokens } = model
  const curve = (of: readonly Timing[]): Curve =>
    extendCurve({ knots: grid.tokens, ...columns(of), provenance }, contextTokens)
  const surface = (knots: readonly number[], of: readonly Timing[], curved: boolean): Surface =>
    extendSurface({ knots, units: grid.units, ...columns(of), provenance }, contextTokens, curved)
  const [prompt, context] = [grid.tokens.at(-1)!, grid.contexts.at(-1)!]
  const memory = residentFigure(measured.residents, provenance)
  const load = fitLoads(measured.loads)
  const profile: Profile = {
    schema: PROFILE_SCHEMA,
    device: {
      id: host.id,
      description: host.description,
      threads,
      memoryBytes: Math.round(MEMORY_SHARE * host.memoryBytes),
    },
    runtime: { name: engine.info.name, version: engine.info.version },
    precision: bench.precision,
    model,
    blocks: {
      embed: curve(timings.embed),
      attention: {
        prefill: surface(grid.tokens, timings.prefill, true),
        decode: surface(grid.contexts, timings.decode, false),
      },
      ffn: {
        whole: curve(timings.ffn.whole),
        first: curve(timings.ffn.first),
        second: curve(timings.ffn.second),
      },
      head: { value: timings.head.medianSeconds, provenance },
    },
    dispatchSeconds: { value: measured.dispatch.medianSeconds, provenance },
    wakeSeconds: { value: measured.wakeSeconds, provenance },
    ...(measured.messageSeconds === null ? {} : { wire: wireFigures(measured.messageSeconds) }),
    load: { segmentSeconds: { value: load.segmentSeconds, provenance: loadProvenance(source) } },
    ...(memory === null ? {} : { memory: { residentBytesPerWeightByte: memory } }),
    loadBytesPerSecond: loadFigure(load, source),
    power: powerFigures(measured, source),
    batch: { sizes: [1], factors: [1], ...measured.batch, provenance },
    decisionSeconds: decisionFigure(measured.decisionSeconds),
    ...(Math.min(prompt, context) < contextTokens ? { measuredTokens: { prompt, context } } : {}),
  }
  return measured.batch === null ? { ...profile, batch: modelledBatch(profile) } : profile
}

function columns(timings: readonly Timing[]): { seconds: number[]; relativeSpread: number[] } {
  return {
    seconds: timings.map((timing) => timing.medianSeconds),
    relativeSpread: timings.map((timing) => timing.relativeSpread),
  }
}

function loadFigure(load: LoadFit, source: string): Figure {
  return { value: load.bytesPerSecond, provenance: loadProvenance(source) }
}

function loadProvenance(source: string): Provenance {
  return {
    kind: 'measured',
    source: `a line over sessions of whole layers made from files that were there, in the page cache; ${source}`,
  }
}

function wireFigures(seconds: number): NonNullable<Profile['wire']> {
  return {
    messageSeconds: { value: seconds, provenance: { kind: 'measured', source: 'given by the caller' } },
  }
}

/**
 * Measured on the FFN, whose weights are all read and repacked at load; small weights cannot be distinguished from the
 * process's other memory.
 */
function residentFigure(residents: readonly MemoryReading[], provenance: Provenance): Figure | null {
  const ffn = residents.find(({ name }) => name === 'ffn-whole')
  if (ffn === undefined || ffn.weightBytes < RESIDENT_BYTES || ffn.residentBytes <= 0) return null
  return { value: ffn.residentBytes / ffn.weightBytes, provenance }
}

function powerFigures(measured: Measured, source: string): Profile['power'] {
  const watts = (value: number | null, model: number, how: string): Figure =>
    value === null
      ? {
          value: model,
          provenance: { kind: 'modelled', source: `no energy counter can be read here; ${how}` },
        }
      : { value, provenance: { kind: 'measured', source: `processor package (RAPL); ${source}` } }
  const busyModel = MODELLED_IDLE_WATTS + MODELLED_CORE_WATTS * measured.bench.threads
  return {
    busyWatts: watts(
      measured.busyWatts,
      busyModel,
      `${MODELLED_IDLE_WATTS} W and ${MODELLED_CORE_WATTS} W a busy thread`,
    ),
    idleWatts: watts(
      measured.idleWatts,
      MODELLED_IDLE_WATTS,
      `${MODELLED_IDLE_WATTS} W, a desktop-class package`,
    ),
    radioJoulesPerByte: {
      value: WIFI.radioJoulesPerByte,
      provenance: { kind: 'modelled', source: WIFI_SOURCES.radioJoulesPerByte },
    },
    radioJoulesPerMessage: {
      value: WIFI.radioJoulesPerMessage,
      provenance: { kind: 'modelled', source: WIFI_SOURCES.radioJoulesPerMessage },
    },
  }
}

function decisionFigure(seconds: number | null): Figure {
  return seconds === null
    ? {
        value: ASSUMED_DECISION_SECONDS,
        provenance: { kind: 'assumed', source: 'not measured yet: a small network over the layers' },
      }
    : { value: seconds, provenance: { kind: 'measured', source: 'given by the caller' } }
}

/** An FFN serves a batch in one pass, as it does the tokens of a prompt; attention runs sequence by sequence. */
function modelledBatch(profile: Profile): Profile['batch'] {
  const costs = new BlockCosts(profile)
  const { model } = profile
  const context = Math.min(BATCH_CONTEXT_TOKENS, model.contextTokens)
  const attention = costs.attentionDecodeSeconds(context, costs.units)
  const head = costs.headSeconds() / model.layers
  const sizes = Array.from({ length: Math.min(BATCH_SIZES, model.contextTokens) }, (_, i) => i + 1)
  const rise = (batch: number) => costs.ffnSeconds('whole', batch) / costs.ffnSeconds('whole', 1)
  const steps = sizes.map(
    (batch) => batch * attention + costs.ffnSeconds('whole', batch) + head * rise(batch),
  )
  const repaired = nonDecreasing(Float64Array.from(steps))
  return {
    sizes,
    factors: [...repaired].map((step) => step / repaired[0]),
    provenance: {
      kind: 'modelled',
      source: `from the measured FFN over tokens, attention sequence by sequence at ${context} tokens of context, head like the FFN`,
    },
  }
}
