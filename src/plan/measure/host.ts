import { readdirSync, readFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, hostname, platform, release, totalmem } from 'node:os'

/** The machine that is measured; an argument so that tests can replace it. */
export interface Host {
  readonly id: string
  readonly description: string
  readonly cores: number
  readonly memoryBytes: number
  /** Memory that this process may still take, bytes: of the machine, or of its container. */
  freeBytes(): number
  /** Resident memory of this process, bytes. */
  residentBytes(): number
  /** Energy counters of the processor packages; null if none can be read. */
  energyCounters(): readonly EnergyCounter[] | null
}

/** An energy counter that wraps at `rangeJoules`. */
export interface EnergyCounter {
  readonly joules: number
  readonly rangeJoules: number
}

/** Reads a text file. */
type ReadText = (path: string) => string
/** Lists the names in a folder. */
type ListFolder = (path: string) => readonly string[]

const readFile: ReadText = (path) => readFileSync(path, 'utf8')
const listFolder: ListFolder = (path) => readdirSync(path)

/** The machine that this process runs on. */
export function thisHost(): Host {
  const cpu = cpus()[0]?.model.trim() ?? 'unknown processor'
  const cores = availableParallelism()
  const gigabytes = (totalmem() / 1e9).toFixed(1)
  return {
    id: hostname().replace(/[^A-Za-z0-9._-]/g, '-') || 'this-machine',
    description: `${cpu}, ${cores} cores, ${gigabytes} GB, ${platform()} ${release()} ${arch()}`,
    cores,
    memoryBytes: totalmem(),
    freeBytes: () => process.availableMemory(),
    residentBytes: () => process.memoryUsage.rss(),
    energyCounters: () => raplCounters(readFile, listFolder),
  }
}

/**
 * Energy counters of x86 packages (Linux powercap; the files need root). Only packages are counted: `intel-rapl:0`, but
 * not its part `intel-rapl:0:1`.
 */
export function raplCounters(read: ReadText, list: ListFolder): EnergyCounter[] | null {
  const root = '/sys/class/powercap'
  try {
    const counters = list(root)
      .filter((name) => /^intel-rapl:\d+$/.test(name))
      .sort()
      .map((name) => ({
        joules: Number(read(`${root}/${name}/energy_uj`)) / 1e6,
        rangeJoules: Number(read(`${root}/${name}/max_energy_range_uj`)) / 1e6,
      }))
    const sound = counters.every(({ joules, rangeJoules }) => Number.isFinite(joules) && rangeJoules > 0)
    return counters.length > 0 && sound ? counters : null
  } catch {
    return null
  }
}

/** Joules between two readings, assuming at most one wrap of each counter; null if a reading is missing. */
export function joulesBetween(
  before: readonly EnergyCounter[] | null,
  after: readonly EnergyCounter[] | null,
): number | null {
  if (before === null || after === null || before.length !== after.length) return null
  return after.reduce((sum, counter, i) => {
    const rise = counter.joules - before[i].joules
    return sum + (rise < 0 ? rise + counter.rangeJoules : rise)
  }, 0)
}
