import type { Clock } from '../../core/clock.ts'
import type { Engine, Session } from '../../core/engine/types.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { subgraphTensorNames } from '../../model/graphs/subgraphTypes.ts'

/** Where segments lie as ONNX files: an opened segment store, or anything like it. */
export interface SubgraphFiles {
  store(segment: Subgraph, batch: number): { readonly path: string; readonly weightBytes: number }
}

export interface SessionsOptions {
  readonly engine: Engine
  readonly files: SubgraphFiles
  readonly clock: Clock
  /** Weights of loaded sessions together; the least recently used go first, those in use stay. */
  readonly budgetBytes: number
  readonly threads?: number
}

/** A session that stays until it is released. */
export interface OpenedSession {
  readonly session: Session
  readonly takesPositions: boolean
  /** Outputs that come back: all but those that go into the caches. */
  readonly fetches: readonly string[]
  /** Null where it was open already. */
  readonly load: { readonly startSeconds: number; readonly endSeconds: number } | null
  release(): void
}

interface Entry extends Pick<OpenedSession, 'session' | 'takesPositions' | 'fetches'> {
  readonly weightBytes: number
  /** Runs under way: while there are any, it stays. */
  users: number
}

/** Loads segments when they are first needed and keeps them while they fit: one session a segment and batch size. */
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

  isOpen(segment: Subgraph, batch: number): boolean {
    return this.entries.has(keyOf(segment, batch))
  }

  /** The session of a segment, loaded where it is not; kept at least until `release`. */
  async open(segment: Subgraph, batch: number): Promise<OpenedSession> {
    const key = keyOf(segment, batch)
    const known = this.entries.get(key)
    if (known !== undefined) {
      this.entries.delete(key)
      this.entries.set(key, known)
      return this.lend(known, null)
    }
    const { clock } = this.options
    const startSeconds = clock.nowSeconds()
    const entry = await this.load(key, segment, batch)
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

  private load(key: string, segment: Subgraph, batch: number): Promise<Entry> {
    const under = this.opening.get(key)
    if (under !== undefined) return under
    const opening = this.create(key, segment, batch).finally(() => this.opening.delete(key))
    this.opening.set(key, opening)
    return opening
  }

  private async create(key: string, segment: Subgraph, batch: number): Promise<Entry> {
    const { engine, files, threads } = this.options
    const { path, weightBytes } = files.store(segment, batch)
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
    for (const [key, { session, weightBytes, users }] of this.entries) {
      if (this.bytes + neededBytes <= this.options.budgetBytes) return
      if (users > 0) continue
      this.entries.delete(key)
      this.bytes -= weightBytes
      void session.dispose()
    }
  }
}

interface Keys {
  readonly segment: string
  /** By batch size. */
  readonly sessions: string[]
}

const known = new WeakMap<Subgraph, Keys>()

function keysOf(segment: Subgraph): Keys {
  let keys = known.get(segment)
  if (keys === undefined) {
    keys = { segment: JSON.stringify(segment), sessions: [] }
    known.set(segment, keys)
  }
  return keys
}

/** Equal segments have equal keys, whichever plan they come from. */
export function subgraphKey(segment: Subgraph): string {
  return keysOf(segment).segment
}

function keyOf(segment: Subgraph, batch: number): string {
  const { segment: key, sessions } = keysOf(segment)
  return (sessions[batch] ??= `${batch} ${key}`)
}
