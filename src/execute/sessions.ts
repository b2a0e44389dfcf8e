import type { Clock } from '../base/clock.ts'
import type { Engine, Session } from '../engine/types.ts'
import type { Segment } from '../model/segmentTypes.ts'

/** Where segments lie as ONNX files: an opened segment store, or anything like it. */
export interface SegmentFiles {
  store(segment: Segment, batch: number): { readonly path: string; readonly weightBytes: number }
}

export interface SessionsOptions {
  readonly engine: Engine
  readonly files: SegmentFiles
  readonly clock: Clock
  /** Weights of loaded sessions together; the least recently used go first. At least one session is kept. */
  readonly budgetBytes: number
  readonly threads?: number
}

export interface OpenedSession {
  readonly session: Session
  readonly weightBytes: number
  /** Null where it was open already. */
  readonly load: { readonly startSeconds: number; readonly endSeconds: number } | null
}

interface Entry {
  readonly session: Session
  readonly weightBytes: number
}

/** Loads segments when they are first needed and keeps them while they fit: one session a segment and batch size. */
export class SegmentSessions {
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

  isOpen(segment: Segment, batch: number): boolean {
    return this.entries.has(keyOf(segment, batch))
  }

  async open(segment: Segment, batch: number): Promise<OpenedSession> {
    const key = keyOf(segment, batch)
    const known = this.entries.get(key)
    if (known !== undefined) {
      this.entries.delete(key)
      this.entries.set(key, known)
      return { ...known, load: null }
    }
    const { clock } = this.options
    const startSeconds = clock.nowSeconds()
    const entry = await this.load(key, segment, batch)
    return { ...entry, load: { startSeconds, endSeconds: clock.nowSeconds() } }
  }

  async close(): Promise<void> {
    const all = [...this.entries.values()]
    this.entries.clear()
    this.bytes = 0
    await Promise.all(all.map(({ session }) => session.dispose()))
  }

  private load(key: string, segment: Segment, batch: number): Promise<Entry> {
    const under = this.opening.get(key)
    if (under !== undefined) return under
    const opening = this.create(key, segment, batch).finally(() => this.opening.delete(key))
    this.opening.set(key, opening)
    return opening
  }

  private async create(key: string, segment: Segment, batch: number): Promise<Entry> {
    const { engine, files, threads } = this.options
    const { path, weightBytes } = files.store(segment, batch)
    this.evict(weightBytes)
    const session = await engine.create(path, threads === undefined ? {} : { threads })
    const entry = { session, weightBytes }
    this.entries.set(key, entry)
    this.bytes += weightBytes
    return entry
  }

  private evict(neededBytes: number): void {
    for (const [key, { session, weightBytes }] of this.entries) {
      if (this.bytes + neededBytes <= this.options.budgetBytes) return
      this.entries.delete(key)
      this.bytes -= weightBytes
      // Runs asked for earlier are done before it goes: an engine answers in order.
      void session.dispose()
    }
  }
}

const keys = new WeakMap<Segment, string>()

/** Equal segments have equal keys, whichever plan they come from. */
export function segmentKey(segment: Segment): string {
  let key = keys.get(segment)
  if (key === undefined) {
    key = JSON.stringify(segment)
    keys.set(segment, key)
  }
  return key
}

function keyOf(segment: Segment, batch: number): string {
  return `${batch} ${segmentKey(segment)}`
}
