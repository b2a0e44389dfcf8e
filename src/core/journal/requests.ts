import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import { InputError } from '../errors.ts'
import { canonicalJson } from '../files.ts'
import { openAppend } from './appendFile.ts'
import type { AppendFile } from './appendFile.ts'
import { systemDisk } from './disk.ts'
import { sealLine } from './line.ts'
import { openLock, type FolderLock } from './lock.ts'
import { MAX_REQUEST_LINE_BYTES, readRequests } from './requestFile.ts'
import type { AppendHealth, AppendOptions } from './types.ts'

const REQUEST_FILE = 'requests.jsonl'
const LOCK_NAME = 'requests.lock'
const DEFAULT_SYNC_SECONDS = 0.05
const DEFAULT_KEEP_SECONDS = 3600
const DEFAULT_UNFINISHED_SECONDS = 24 * 3600
const DEFAULT_MAX_REQUESTS = 1000
const DEFAULT_FILE_BYTES = 32 * 1024 * 1024

/** The inputs that identify a request. */
export interface JournalRequest {
  /** The application's idempotency key, at most 1024 characters; null: the request cannot be found again later. */
  readonly key: string | null
  /** Whose API key was used. The same key of two principals names two requests. */
  readonly principal: string
  /** Token ids. */
  readonly prompt: readonly number[]
  readonly maxNewTokens: number
  /** Sampling parameters as plain JSON. */
  readonly sampling: object
  /** Hash of weights and precision: with others, the tokens would differ. */
  readonly fingerprint: string
}

/** How a request ended. */
type JournalFinish = 'stop' | 'length' | 'cancelled' | 'error'

/** A request in the journal; `tokens` and `switches` are copies from the time of the call. */
interface JournaledRequest extends JournalRequest {
  /** Number of the request, an argument of `token`, `switched` and `end`. */
  readonly request: number
  readonly tokens: readonly number[]
  /** Plan switches as JSON, in order. */
  readonly switches: readonly unknown[]
  /** Null: the request is running, or was when the process ended. */
  readonly finish: JournalFinish | null
  /**
   * Whether prompt, length, sampling and weights equal those of `other`. If not, `other` reuses the key of this request
   * (HTTP 409).
   */
  matches(other: JournalRequest): boolean
}

interface RequestJournalOptions extends Pick<
  AppendOptions,
  'disk' | 'syncSeconds' | 'retrySeconds' | 'onError' | 'maxBytes'
> {
  readonly clock: Clock
  readonly timers: AppendOptions['timers']
  /** How long a finished request can be found, in seconds. Default 3600. */
  readonly keepSeconds?: number
  /** How long a request that a crash interrupted can be found, in seconds from its start. Default one day. */
  readonly keepUnfinishedSeconds?: number
  /** Above this count the oldest requests are forgotten, finished ones first. Default 1000. */
  readonly maxRequests?: number
}

/** A request in memory: the contents of its `request` line, and the tokens since. */
export interface Entry extends JournalRequest {
  readonly request: number
  /** Start of the request, seconds since 1970. */
  readonly beganSeconds: number
  readonly tokens: number[]
  readonly switches: unknown[]
  finish: JournalFinish | null
  endedSeconds: number | null
}

/**
 * Opens the journal of requests in `folder` and forgets requests that are too old. Tokens are synced within
 * `syncSeconds` (0.05); a killed process loses at most those of its last 0.05 s. A disk error does not reject.
 * @throws InputError if another process writes to the folder, or a file is not a journal
 */
export async function openRequestJournal(
  folder: string,
  options: RequestJournalOptions,
): Promise<RequestJournal> {
  const lock = openLock(join(folder, LOCK_NAME), options)
  const journal = new RequestJournal(options, lock)
  try {
    await journal.open(folder)
  } catch (error) {
    lock.release()
    throw error
  }
  return journal
}

/** Journals running and recently finished requests, so that a device that is killed at any token can continue them. */
export class RequestJournal {
  private readonly options: RequestJournalOptions
  private readonly lock: FolderLock
  private file: AppendFile | null = null
  private loaded = false
  private readonly entries = new Map<number, Entry>()
  private readonly byKey = new Map<string, Entry>()
  private next = 1

  constructor(options: RequestJournalOptions, lock: FolderLock) {
    this.options = options
    this.lock = lock
  }

  /** Opens the files. Call once, before anything else. */
  async open(folder: string): Promise<void> {
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
      // Each file begins with all known requests, so that older files can be deleted.
      startAnew: true,
      keepFiles: 1,
      head: () => this.state(),
      prepare: async () => {
        await (disk ?? systemDisk).list(folder)
        this.lock.acquire()
        this.load(path)
      },
      verify: () => this.lock.verify(),
    })
    // The files could not be read yet: start at a number that they cannot contain.
    if (!this.loaded) this.next = Math.floor(1000 * this.nowSeconds())
  }

  /** Begins a new request and returns its number. An older request with the same key is forgotten. */
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

  /** Appends token `index` (from 0) of a request; a token that is known already is not written again. */
  token(request: number, index: number, id: number): void {
    const entry = this.entries.get(request)
    if (entry === undefined || index !== entry.tokens.length) return
    entry.tokens.push(id)
    this.file!.appendLine(sealLine(`{"kind":"token","request":${request},"index":${index},"id":${id}`))
  }

  /** Appends a plan switch (plain JSON) of the request. */
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

  /** Finds the request of a principal by its key; null if unknown or forgotten. */
  find(principal: string, key: string): JournaledRequest | null {
    const entry = this.byKey.get(keyOf(principal, key))
    return entry === undefined ? null : viewOf(entry)
  }

  /** Requests without an end, oldest first: those that a crash interrupted, and those running. */
  unfinished(): JournaledRequest[] {
    return [...this.entries.values()].filter(({ finish }) => finish === null).map(viewOf)
  }

  /** Number of requests in memory. */
  get size(): number {
    return this.entries.size
  }

  /** Resolves true once everything journaled before is synced, false if it is known not to be. */
  flush(): Promise<boolean> {
    return this.file!.flush()
  }

  get health(): AppendHealth {
    return this.file!.health
  }

  async close(): Promise<void> {
    await this.file!.close()
    this.lock.release()
  }

  /** Reads the files, the first time that this is possible. */
  private load(path: string): void {
    if (this.loaded) return
    // Keys begun while the files could not be read: they are newer than the files' contents.
    const newer = new Set(this.byKey.keys())
    for (const entry of readRequests(path)) {
      if (entry.key !== null && newer.has(keyOf(entry.principal, entry.key))) continue
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

/** Encodes the whole request as one record: when it begins, and at the head of each file. */
function recordOf(entry: Entry): object {
  return { kind: 'request', ...entry }
}

function viewOf(entry: Entry): JournaledRequest {
  const { key, principal, prompt, maxNewTokens, sampling, fingerprint, request, finish } = entry
  const own = identity(entry)
  return {
    key,
    principal,
    prompt,
    maxNewTokens,
    sampling,
    fingerprint,
    request,
    finish,
    tokens: [...entry.tokens],
    switches: [...entry.switches],
    matches: (other) => identity(other) === own,
  }
}

const identity = ({ prompt, maxNewTokens, sampling, fingerprint }: JournalRequest) =>
  canonicalJson([prompt, maxNewTokens, sampling, fingerprint])
