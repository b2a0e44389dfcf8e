import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemTimers } from '../../src/core/timers.ts'
import { complete, type Asked } from './client.ts'
import { startProgram, type Held, type Program } from './program.ts'
import { startProxy, type Proxy } from './proxy.ts'

/** The edge goes on alone after so much silence of its cloud; a heartbeat comes every second. */
export const OUTAGE_SECONDS = 2

/** A cloud, an edge that serves, and a proxy between them. */
export interface Pair {
  readonly proxy: Proxy
  cloud: Program
  edge: Program
  startCloud(more?: readonly string[]): Promise<Program>
  /** `before`: what runs Node, e.g. under a limit. */
  startEdge(more?: readonly string[], before?: readonly string[]): Promise<Program>
  close(): Promise<void>
}

export interface ProcessWorld {
  /** Its cloud comes and goes; its edge stays. */
  readonly mortalCloud: Pair
  /** Its edge comes and goes; its cloud stays. */
  readonly mortalEdge: Pair
  /** The text without any fault. */
  told(asked: Asked): Promise<string>
  /** A pair for one fault. */
  open(): Promise<Pair>
  /** Notes what the survivors hold. */
  look(): void
  /** What the survivors hold more at the end than at the beginning. */
  growth(): readonly string[]
  close(): Promise<void>
}

/** Past the caches that fill at first, a survivor's memory and handles stay within this. */
export const GROWTH = { rssBytes: 48 * 2 ** 20, handles: 8 } as const

export async function openProcesses(cli: string): Promise<ProcessWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-faults-'))
  let count = 0
  const open = (): Promise<Pair> => openPair(cli, folder, `log-${count++}`)
  const [mortalCloud, mortalEdge] = [await open(), await open()]
  const known = new Map<string, string>()
  const seen: Record<'the edge' | 'the cloud', Held[]> = { 'the edge': [], 'the cloud': [] }
  return {
    mortalCloud,
    mortalEdge,
    open,
    told: async (asked) => {
      const name = JSON.stringify([asked.prompt, asked.maxTokens])
      const before = known.get(name)
      if (before !== undefined) return before
      const { text, error } = await complete(mortalEdge.edge.port, { ...asked, key: undefined })
      if (error !== null) throw new Error(`without any fault: ${error}`)
      known.set(name, text)
      return text
    },
    look: () => {
      const [edge, cloud] = [mortalCloud.edge.held(), mortalEdge.cloud.held()]
      if (edge !== null) seen['the edge'].push(edge)
      if (cloud !== null) seen['the cloud'].push(cloud)
    },
    growth: () => Object.entries(seen).flatMap(([name, all]) => growthOf(name, all)),
    close: async () => {
      await Promise.all([mortalCloud.close(), mortalEdge.close()])
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** The last third against the first, of means; nothing is said of fewer than nine looks. */
export function growthOf(name: string, all: readonly Held[]): string[] {
  const third = Math.floor(all.length / 3)
  if (third < 3) return []
  const mean = (part: readonly Held[], of: keyof Held): number =>
    part.reduce((sum, held) => sum + held[of], 0) / part.length
  return (['rssBytes', 'handles'] as const).flatMap((of) => {
    const grown = mean(all.slice(-third), of) - mean(all.slice(0, third), of)
    return grown > GROWTH[of]
      ? [`${name}: ${of} grew by ${Math.round(grown)}, at most ${GROWTH[of]} may`]
      : []
  })
}

async function openPair(cli: string, folder: string, log: string): Promise<Pair> {
  const node = [process.execPath, cli]
  const any = ['--listen', '127.0.0.1:0', '--json']
  const proxy = await startProxy(() => pair.cloud.port, systemTimers)
  const startCloud = (more: readonly string[] = []): Promise<Program> =>
    startProgram([...node, 'cloud', '--model', 'tales', '--max-batch', '1', ...any, ...more], folder)
  const startEdge = (more: readonly string[] = [], before: readonly string[] = []): Promise<Program> => {
    const plan = ['--plan', 'cut:2', '--cloud', `127.0.0.1:${proxy.port}`]
    const times = [
      '--outage-seconds',
      String(OUTAGE_SECONDS),
      '--recovery-seconds',
      '20',
      '--drain-seconds',
      '10',
    ]
    const command = [...before, ...node, 'edge', '--model', 'tales', ...plan, ...times, ...any, '--log', log]
    return startProgram([...command, ...more], folder)
  }
  const pair: Pair = {
    proxy,
    startCloud,
    startEdge,
    cloud: await startCloud(),
    edge: null as unknown as Program,
    close: async () => {
      for (const program of [pair.edge, pair.cloud]) program.signal('SIGKILL')
      await Promise.all([pair.edge.exit(10), pair.cloud.exit(10)])
      await proxy.close()
    },
  }
  pair.edge = await startEdge()
  return pair
}
