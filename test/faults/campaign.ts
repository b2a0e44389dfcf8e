import { systemClock } from '../../src/core/clock.ts'
import { runHostile } from './hostile.ts'
import {
  HOSTILE_KINDS,
  PROCESS_KINDS,
  WIRE_KINDS,
  type HostileKind,
  type Kind,
  type Outcome,
  type ProcessKind,
  type WireKind,
} from './kinds.ts'
import { openProcesses, type ProcessWorld } from './processWorld.ts'
import { runProcessFault } from './processFault.ts'
import { runWireFault } from './wireFault.ts'
import { openWorld, type World } from './world.ts'

export const FAMILIES = ['wire', 'process', 'hostile'] as const
export type Family = (typeof FAMILIES)[number]

/** One fault: all that is needed to run it alone. */
export interface FaultName {
  readonly family: Family
  readonly seed: number
  readonly kind?: Kind
}

/** Of 25 faults so many each. Processes take seconds to start, frames do not. */
const SHARES: Readonly<Record<Family, number>> = { wire: 21, process: 2, hostile: 2 }
/** Seeds of one campaign; the next campaign's begin behind them. */
const SEEDS = 1_000_000

export function familyOf(kind: Kind): Family {
  const has = (kinds: readonly string[]): boolean => kinds.includes(kind)
  if (has(WIRE_KINDS)) return 'wire'
  return has(PROCESS_KINDS) ? 'process' : 'hostile'
}

export const ALL_KINDS: readonly Kind[] = [...WIRE_KINDS, ...PROCESS_KINDS, ...HOSTILE_KINDS]

/** Which faults a campaign runs: families one after another, so that each keeps its world. */
export function drawCampaign(seed: number, count: number, only?: Kind): FaultName[] {
  if (only !== undefined) {
    const family = familyOf(only)
    return Array.from({ length: count }, (_, i) => ({ family, seed: seed * SEEDS + i, kind: only }))
  }
  const total = Object.values(SHARES).reduce((sum, share) => sum + share, 0)
  const process = Math.round((count * SHARES.process) / total)
  const hostile = Math.round((count * SHARES.hostile) / total)
  const counts: Record<Family, number> = { wire: count - process - hostile, process, hostile }
  return FAMILIES.flatMap((family) =>
    Array.from({ length: counts[family] }, (_, i) => ({ family, seed: seed * SEEDS + i })),
  )
}

export interface CampaignOptions {
  readonly faults: readonly FaultName[]
  /** The built program. */
  readonly cli: string
  /** Faults after which a world is closed and looked at. */
  readonly batch: number
  readonly onOutcome: (outcome: Outcome) => void
}

export interface CampaignResult {
  readonly outcomes: readonly Outcome[]
  /** What was left in this process, or grew in others, once a batch was over. */
  readonly leaks: readonly string[]
  readonly seconds: number
}

export async function runCampaign({
  faults,
  cli,
  batch,
  onOutcome,
}: CampaignOptions): Promise<CampaignResult> {
  const from = systemClock.nowSeconds()
  const outcomes: Outcome[] = []
  const leaks: string[] = []
  const note = (outcome: Outcome): void => {
    outcomes.push(outcome)
    onOutcome(outcome)
  }
  for (const family of FAMILIES) {
    const own = faults.filter((fault) => fault.family === family)
    const size = family === 'process' ? Infinity : batch
    for (let at = 0; at < own.length; at += size) {
      const part = own.slice(at, at + size)
      if (family === 'process') leaks.push(...(await inProcesses(part, cli, note)))
      else leaks.push(...(await inOneProcess(part, note)))
    }
  }
  return { outcomes, leaks, seconds: systemClock.nowSeconds() - from }
}

/** What this process still waits for must be what it waited for before. */
async function inOneProcess(
  faults: readonly FaultName[],
  note: (outcome: Outcome) => void,
): Promise<string[]> {
  const before = resources()
  const world = await openWorld(faults[0].seed)
  try {
    for (const fault of faults) note(await runOne(world, fault))
  } finally {
    await world.close()
  }
  const after = await settled(before)
  return Object.entries(after).flatMap(([name, n]) => {
    const grown = n - (before[name] ?? 0)
    return grown > 0
      ? [`${grown} ${name} left after ${faults.length} faults from seed ${faults[0].seed} on`]
      : []
  })
}

async function runOne(world: World, { family, seed, kind }: FaultName): Promise<Outcome> {
  if (family === 'hostile') return runHostile(world, seed, kind as HostileKind | undefined)
  const { outcome } = await runWireFault(world, seed, kind === undefined ? {} : { kind: kind as WireKind })
  return outcome
}

async function inProcesses(
  faults: readonly FaultName[],
  cli: string,
  note: (outcome: Outcome) => void,
): Promise<readonly string[]> {
  const world: ProcessWorld = await openProcesses(cli)
  try {
    for (const { seed, kind } of faults)
      note(await runProcessFault(world, seed, kind as ProcessKind | undefined))
    return world.growth()
  } finally {
    await world.close()
  }
}

/** Where our own lines go. */
const STREAMS: ReadonlySet<string> = new Set(['PipeWrap', 'TTYWrap', 'FSReqPromise'])

/** Sockets, servers and timers that keep this process alive. */
function resources(): Record<string, number> {
  const all: Record<string, number> = {}
  for (const name of process.getActiveResourcesInfo()) {
    if (!STREAMS.has(name)) all[name] = (all[name] ?? 0) + 1
  }
  return all
}

/** Sockets need a moment to be gone. */
async function settled(before: Readonly<Record<string, number>>): Promise<Record<string, number>> {
  const end = systemClock.nowSeconds() + 3
  const grown = (): boolean => Object.entries(resources()).some(([name, n]) => n > (before[name] ?? 0))
  while (grown() && systemClock.nowSeconds() < end) await new Promise((resolve) => setTimeout(resolve, 20))
  return resources()
}
