import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import { InputError } from '../errors.ts'
import { canonicalJson } from '../files.ts'
import { openAppend } from './appendFile.ts'
import type { AppendFile } from './appendFile.ts'
import { systemDisk } from './disk.ts'
import { sealLine } from './line.ts'
import { openLock } from './lock.ts'
import { MAX_REQUEST_LINE_BYTES, readRequests } from './requestFile.ts'
import type { AppendHealth, AppendOptions } from './types.ts'

const REQUEST_FILE = 'requests.jsonl'
const LOCK_NAME = 'requests.lock'
const DEFAULT_SYNC_SECONDS = 0.05
const DEFAULT_KEEP_SECONDS = 3600
const DEFAULT_UNFINISHED_SECONDS = 24 * 3600
const DEFAULT_MAX_REQUESTS = 1000
const DEFAULT_FILE_BYTES = 32 * 1024 * 1024

/** What makes a request that one and no other. */
export interface JournalRequest {
  /** The application's name for it; null: it cannot be asked for again. At most 1024 characters. */
  readonly key: string | null
  /** Keys of two principals are two keys. */
  readonly principal: string
  /** Token ids. */
  readonly prompt: readonly number[]
  readonly maxNewTokens: number
  /** Plain JSON. */
  readonly sampling: object
  /** Of weights and precision: other weights, other tokens. */
  readonly fingerprint: string
}

export type JournalFinish = 'stop' | 'length' | 'cancelled' | 'error'

/** One request as the journal holds it; `tokens` and `switches` as they were when it was asked for. */
export interface JournaledRequest extends JournalRequest {
  /** What `token`, `switched` and `end` take. */
  readonly request: number
  readonly tokens: readonly number[]
  /** Plan switches as JSON, in order. */
  readonly switches: readonly unknown[]
  /** Null: it was being carried out, or is. */
  readonly finish: JournalFinish | null
  /** Whether prompt, length, sampling and weights are those of `other`; if not, its key belongs to this request (409). */
  matches(other: JournalRequest): boolean
}

export interface RequestJournalOptions extends Pick<
  AppendOptions,
  'disk' | 'syncSeconds' | 'retrySeconds' | 'onError' | 'maxBytes'
> {
  readonly clock: Clock
  readonly timers: AppendOptions['timers']
  /** A finished request can be asked for again for so long. Default 3600. */
  readonly keepSeconds?: number
  /** One that a crash broke off, from its beginning. Default a day. */
  readonly keepUnfinishedSeconds?: number
  /** Beyond so many the oldest go, finished ones first. Default 1000. */
  readonly maxRequests?: number
}

/** A request in memory: what a line of kind `request` says, and the tokens that came since. */
export interface Entry extends JournalRequest {
  readonly request: number
  /** Seconds since 1970. */
  readonly beganSeconds: number
  readonly tokens: number[]
  readonly switches: unknown[]
  finish: JournalFinish | null
  endedSeconds: number | null
}

/**
 * Opens the journal of requests in `folder` and forgets what is too old. Tokens are on the disk `syncSeconds` (0.05)
 * after they came; a killed process loses none that it appended 0.05 s before. An error of the disk does not reject.
 * @throws InputError if another process writes there, or a file is none of ours
 */
export async function openRequestJournal(
  folder: string,
  options: RequestJournalOptions,
): Promise<RequestJournal> {
  const lock = openLock(join(folder, LOCK_NAME), options)
  const journal = new RequestJournal(options, () => lock.release())
  try {
    await journal.open(folder, () => lock.acquire())
  } catch (error) {
    lock.release()
    throw error
  }
  return journal
}

/** What is being generated and what just was, so that a device that is killed at any token loses nothing. */
export class RequestJournal {
  private readonly options: RequestJournalOptions
  private readonly unlock: () => void
  private file: AppendFile | null = null
  private loaded = false
  private readonly entries = new Map<number, Entry>()
  private readonly byKey = new Map<string, Entry>()
  private next = 1

  constructor(options: RequestJournalOptions, unlock: () => void) {
    this.options = options
    this.unlock = unlock
  }

  /** Once, before anything else. */
  async open(folder: string, lock: () => void): Promise<void> {
    const { clock, timers, disk, syncSeconds, maxBytes, retrySeconds, onError } = this.options
    const path = join(folder, REQUEST_FILE)
    this.file = await openAppend(path, {
      clock,
      timers,
      ...(disk === undefined ? {} : { disk }),
      ...(retrySeconds === undefined ? {} : { retrySeconds }),
      ...(onError === undefined ? {} : { onError }),
      syncSeconds: syncSeconds ?? DEFAULT_SYNC_SECONDS,
      maxBytes: maxBytes ?? DEFAULT_FILE_BYTES,
      maxLineBytes: MAX_REQUEST_LINE_BYTES,
      // Each file begins with all that is known, so that the ones before it can go.
      startAnew: true,
      keepFiles: 1,
      head: () => this.state(),
      prepare: async () => {
        await (disk ?? systemDisk).list(folder)
        lock()
        this.load(path)
      },
    })
    // Numbers that the files, which could not be read yet, do not use.
    if (!this.loaded) this.next = Math.floor(1000 * this.nowSeconds())
  }

  /** A new request; an older one of the same key is forgotten. Returns its number. */
  begin(request: JournalRequest): number {
    const entry: Entry = {
      ...copyOf(request),
      request: this.next++,
      beganSeconds: this.nowSeconds(),
      tokens: [],
      switches: [],
      finish: null,
      endedSeconds: null,
    }
    this.add(entry)
    this.file!.append(recordOf(entry))
    this.forget()
    return entry.request
  }

  /** Token `index` (from 0) of a request. One that is known already is not written again. */
  token(request: number, index: number, id: number): void {
    const entry = this.entries.get(request)
    if (entry === undefined || index !== entry.tokens.length) return
    entry.tokens.push(id)
    this.file!.appendLine(sealLine(`{"kind":"token","request":${request},"index":${index},"id":${id}`))
  }

  /** The request goes on by another plan; `planSwitch` is plain JSON. */
  switched(request: number, planSwitch: unknown): void {
    const entry = this.entries.get(request)
    if (entry === undefined) return
    const index = entry.switches.push(planSwitch) - 1
    this.file!.append({ kind: 'switch', request, index, planSwitch })
  }

  end(request: number, finish: JournalFinish): void {
    const entry = this.entries.get(request)
    if (entry === undefined || entry.finish !== null) return
    entry.finish = finish
    entry.endedSeconds = this.nowSeconds()
    this.file!.append({ kind: 'end', request, finish, endedSeconds: entry.endedSeconds })
    this.forget()
  }

  /** What a principal asked for by this key; null if it is not known, or no longer. */
  find(principal: string, key: string): JournaledRequest | null {
    const entry = this.byKey.get(keyOf(principal, key))
    return entry === undefined ? null : viewOf(entry)
  }

  /** Requests without an end, oldest first: those of before a crash, and those under way. */
  unfinished(): JournaledRequest[] {
    return [...this.entries.values()].filter(({ finish }) => finish === null).map(viewOf)
  }

  /** How many requests it holds. */
  get size(): number {
    return this.entries.size
  }

  /** True when all that was told before is on the disk; false if it is known not to be. */
  flush(): Promise<boolean> {
    return this.file!.flush()
  }

  get health(): AppendHealth {
    return this.file!.health
  }

  async close(): Promise<void> {
    await this.file!.close()
    this.unlock()
  }

  /** Reads what the files hold, the first time that they can be read. */
  private load(path: string): void {
    if (this.loaded) return
    // Told while the files could not be read: newer than what they say.
    const told = new Set(this.byKey.keys())
    for (const entry of readRequests(path)) {
      if (entry.key !== null && told.has(keyOf(entry.principal, entry.key))) continue
      this.add(entry)
      this.next = Math.max(this.next, entry.request + 1)
    }
    this.loaded = true
    this.forget()
  }

  private *state(): Generator<object> {
    for (const entry of this.entries.values()) yield recordOf(entry)
  }

  private add(entry: Entry): void {
    this.entries.set(entry.request, entry)
    if (entry.key === null) return
    const key = keyOf(entry.principal, entry.key)
    const before = this.byKey.get(key)
    if (before !== undefined) this.entries.delete(before.request)
    this.byKey.set(key, entry)
  }

  private remove(entry: Entry): void {
    this.entries.delete(entry.request)
    if (entry.key !== null) this.byKey.delete(keyOf(entry.principal, entry.key))
  }

  private forget(): void {
    const {
      keepSeconds = DEFAULT_KEEP_SECONDS,
      keepUnfinishedSeconds = DEFAULT_UNFINISHED_SECONDS,
      maxRequests = DEFAULT_MAX_REQUESTS,
    } = this.options
    const now = this.nowSeconds()
    for (const entry of this.entries.values()) {
      const { endedSeconds, beganSeconds } = entry
      const old =
        endedSeconds === null ? now - beganSeconds > keepUnfinishedSeconds : now - endedSeconds > keepSeconds
      if (old) this.remove(entry)
    }
    for (const finished of [true, false]) {
      for (const entry of this.entries.values()) {
        if (this.entries.size <= maxRequests) return
        if ((entry.finish !== null) === finished) this.remove(entry)
      }
    }
  }

  private nowSeconds(): number {
    return Date.parse(this.options.clock.wallTime()) / 1000
  }
}

const keyOf = (principal: string, key: string) => JSON.stringify([principal, key])

function copyOf(request: JournalRequest): JournalRequest {
  const { key, principal, prompt, maxNewTokens, sampling, fingerprint } = request
  if ((key?.length ?? 0) > 1024) {
    const found = `${key!.length} characters`
    throw new InputError({ where: 'key of a request', expected: 'at most 1024 characters', found })
  }
  return { key, principal, prompt: [...prompt], maxNewTokens, sampling: { ...sampling }, fingerprint }
}

/** The whole of a request as one line: when it begins, and at the head of each file. */
function recordOf(entry: Entry): object {
  return { kind: 'request', ...entry }
}

function viewOf(entry: Entry): JournaledRequest {
  const { key, principal, prompt, maxNewTokens, sampling, fingerprint, request, finish } = entry
  const own = identity(entry)
  return {
    ...{ key, principal, prompt, maxNewTokens, sampling, fingerprint, request, finish },
    tokens: [...entry.tokens],
    switches: [...entry.switches],
    matches: (other) => identity(other) === own,
  }
}

const identity = ({ prompt, maxNewTokens, sampling, fingerprint }: JournalRequest) =>
  canonicalJson([prompt, maxNewTokens, sampling, fingerprint])
