import type { Clock } from '../../core/clock.ts'
import type { Engine, Session } from '../../core/engine/types.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { subgraphTensorNames } from '../../model/graphs/subgraphTypes.ts'

/** The ONNX files of subgraphs: an opened subgraph store or an equivalent. */
export interface SubgraphFiles {
  store(subgraph: Subgraph, batch: number): { readonly path: string; readonly weightBytes: number }
}

/** Options of a session cache. */
interface SessionsOptions {
  readonly engine: Engine
  readonly files: SubgraphFiles
  readonly clock: Clock
  /**
   * Limit on the weights of all loaded sessions, or a function where it changes; the least recently used ones are
   * unloaded, except those in use.
   */
  readonly budgetBytes: number | (() => number)
  readonly threads?: number
}

/** A session that stays loaded until it is released. */
export interface OpenedSession {
  readonly session: Session
  readonly takesPositions: boolean
  /** Outputs that are returned: all except those that go into the K/V caches. */
  readonly fetches: readonly string[]
  /** Null if it was loaded already. */
  readonly load: { readonly startSeconds: number; readonly endSeconds: number } | null
  release(): void
}

interface Entry extends Pick<OpenedSession, 'session' | 'takesPositions' | 'fetches'> {
  readonly weightBytes: number
  /** Current runs; the session stays loaded while there are any. */
  users: number
}

/** Loads subgraphs on first use and keeps them while they fit: one session for each subgraph and batch size. */
export class SessionCache {
  private readonly options: SessionsOptions
  /** In order of use, the latest last. */
  private readonly entries = new Map<string, Entry>()
  private readonly opening = new Map<string, Promise<Entry>>()
  private bytes = 0

  constructor(options: SessionsOptions) {
    this.options = options
  }

  get loadedBytes(): number {
    return this.bytes
  }

  isOpen(subgraph: Subgraph, batch: number): boolean {
    return this.entries.has(keyOf(subgraph, batch))
  }

  /** The session of a subgraph, loaded if necessary, and kept at least until `release`. */
  async open(subgraph: Subgraph, batch: number): Promise<OpenedSession> {
    const key = keyOf(subgraph, batch)
    const known = this.entries.get(key)
    if (known !== undefined) {
      this.entries.delete(key)
      this.entries.set(key, known)
      const lent = this.lend(known, null)
      // The budget may have become smaller since the last load.
      this.evict(0)
      return lent
    }
    const { clock } = this.options
    const startSeconds = clock.nowSeconds()
    const entry = await this.load(key, subgraph, batch)
    return this.lend(entry, { startSeconds, endSeconds: clock.nowSeconds() })
  }

  private lend(entry: Entry, load: OpenedSession['load']): OpenedSession {
    const { session, takesPositions, fetches } = entry
    entry.users++
    return { session, takesPositions, fetches, load, release: () => entry.users-- }
  }

  async close(): Promise<void> {
    const all = [...this.entries.values()]
    this.entries.clear()
    this.bytes = 0
    await Promise.all(all.map(({ session }) => session.dispose()))
  }

  private load(key: string, subgraph: Subgraph, batch: number): Promise<Entry> {
    const under = this.opening.get(key)
    if (under !== undefined) return under
    const opening = this.create(key, subgraph, batch).finally(() => this.opening.delete(key))
    this.opening.set(key, opening)
    return opening
  }

  private async create(key: string, subgraph: Subgraph, batch: number): Promise<Entry> {
    const { engine, files, threads } = this.options
    const { path, weightBytes } = files.store(subgraph, batch)
    this.evict(weightBytes)
    const session = await engine.create(path, threads === undefined ? {} : { threads })
    const takesPositions = session.inputNames.includes('positions')
    const fetches = session.outputNames.filter((name) => !subgraphTensorNames.isNew(name))
    const entry = { session, weightBytes, takesPositions, fetches, users: 0 }
    this.entries.set(key, entry)
    this.bytes += weightBytes
    return entry
  }

  private evict(neededBytes: number): void {
    const { budgetBytes } = this.options
    const limit = typeof budgetBytes === 'number' ? budgetBytes : budgetBytes()
    for (const [key, { session, weightBytes, users }] of this.entries) {
      if (this.bytes + neededBytes <= limit) return
      if (users > 0) continue
      this.entries.delete(key)
      this.bytes -= weightBytes
      void session.dispose()
    }
  }
}

interface Keys {
  readonly subgraph: string
  /** By batch size. */
  readonly sessions: string[]
}

const known = new WeakMap<Subgraph, Keys>()

function keysOf(subgraph: Subgraph): Keys {
  let keys = known.get(subgraph)
  if (keys === undefined) {
    keys = { subgraph: JSON.stringify(subgraph), sessions: [] }
    known.set(subgraph, keys)
  }
  return keys
}

/** Equal subgraphs have equal keys, from whatever plan they come. */
export function subgraphKey(subgraph: Subgraph): string {
  return keysOf(subgraph).subgraph
}

function keyOf(subgraph: Subgraph, batch: number): string {
  const { subgraph: key, sessions } = keysOf(subgraph)
  return (sessions[batch] ??= `${batch} ${key}`)
}
