import OpenAI from 'openai'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { startApi } from '../../../src/serve/http/server.ts'
import type { ApiOptions, ApiServer, RequestRecord } from '../../../src/serve/http/options.ts'
import type {
  Backend,
  CompletionStreamListener,
  CompletionRequest,
  CompletionOutput,
  ServedModel,
} from '../../../src/serve/http/types.ts'
import { RequestState } from '../../../src/serve/edge/requestState.ts'
import { randomStream } from '../../../src/core/random.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { PLAIN_CHAT } from '../../../src/model/tokenizers/chat.ts'
import type { TextTokenizer } from '../../../src/model/tokenizers/types.ts'
import { openTokenizer } from '../../../src/model/tokenizers/tokenizer.ts'
import { systemTimers, type TimeSource } from '../../../src/core/timers.ts'
import { gpt2Tokenizer } from '../../model/weights/tokenizers.ts'

/** Bytes and a few merges: any text has tokens, and characters of several bytes have several. */
export const tokenizer: TextTokenizer = byteTokenizer()
/** <|endoftext|>, as the backend's stop token. */
export const STOP_ID = tokenizer.vocabulary - 1

function byteTokenizer(): TextTokenizer {
  const { json, vocabulary } = gpt2Tokenizer()
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-api-'))
  try {
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json))
    return openTokenizer(folder, vocabulary, null)!
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** One id a byte (ids below 256 are bytes), so that every character of more than one byte spans tokens. */
export function bytesOf(text: string): number[] {
  return Array.from(Buffer.from(text))
}

export type Step = number | Error

/**
 * Completes by a script; no more tokens than `credit` come until there is more of it. Deadlines and cancellation are
 * those of the service: a RequestState watches them.
 */
export class ScriptedBackend implements Backend {
  model: ServedModel = {
    id: 'scripted',
    createdSeconds: 1_700_000_000,
    contextTokens: 256,
    fingerprint: 'ab'.repeat(32),
  }
  readiness = { ready: true, reason: 'ready' }
  readonly requests: CompletionRequest[] = []
  /** Requests that were given up before their script was over: cancelled, or past their deadline. */
  aborted = 0
  time: TimeSource = { clock: systemClock, timers: systemTimers }
  /** The deadline of a request that names none. */
  totalSeconds = 600
  running = 0
  script: (request: CompletionRequest) => readonly Step[] = () => bytesOf(' world').concat(STOP_ID)
  credit = Infinity
  private waiting: (() => void)[] = []

  complete(request: CompletionRequest, listener: CompletionStreamListener): Promise<CompletionOutput> {
    this.requests.push(request)
    const state = new RequestState({
      number: this.requests.length,
      request,
      listener,
      restored: [],
      deadlineSeconds: Math.min(this.totalSeconds, request.deadlineSeconds ?? Infinity),
      time: this.time,
    })
    state.dispatch(this.time.clock.nowSeconds())
    this.running++
    this.play(state)
      .then(
        (finish) => state.finish(finish),
        (error: unknown) => state.fail(error),
      )
      .finally(() => this.running--)
    return state.output
  }

  private async play(state: RequestState): Promise<CompletionOutput['finish']> {
    const { request, listener, ids } = state
    for (const step of this.script(request).slice(0, request.maxNewTokens)) {
      try {
        await state.orGivenUp(this.turn())
      } catch (error) {
        this.aborted++
        throw error
      }
      if (typeof step !== 'number') throw step
      ids.push(step)
      listener.onToken(step)
      if (step === STOP_ID) return 'stop'
    }
    return 'length'
  }

  /** Lets `count` more tokens come. */
  release(count = Infinity): void {
    this.credit += count
    for (const go of this.waiting.splice(0)) go()
  }

  private async turn(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    while (this.credit < 1) await new Promise<void>((resolve) => this.waiting.push(resolve))
    this.credit--
  }
}

export interface Served {
  readonly server: ApiServer
  readonly backend: ScriptedBackend
  readonly client: OpenAI
  readonly records: RequestRecord[]
  readonly defects: unknown[]
  readonly registry: Registry
}

const open: ApiServer[] = []

/** A real server on a free port, and OpenAI's own client for it. */
export async function serve(
  options: Partial<ApiOptions> = {},
  backend = new ScriptedBackend(),
  apiKey = 'none',
): Promise<Served> {
  const records: RequestRecord[] = []
  const defects: unknown[] = []
  const registry = new Registry()
  const { clock = systemClock, timers = systemTimers } = options
  backend.time = { clock, timers }
  const server = await startApi({
    backend,
    tokenizer,
    chat: PLAIN_CHAT,
    host: '127.0.0.1',
    port: 0,
    keys: null,
    registry,
    clock,
    timers,
    random: randomStream(1, 'api'),
    onRequest: (record) => records.push(record),
    onDefect: (error) => defects.push(error),
    ...options,
  })
  open.push(server)
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 })
  return { server, backend, client, records, defects, registry }
}

export async function closeAll(): Promise<void> {
  await Promise.all(open.splice(0).map((server) => server.close()))
}

/** Waits for what another part of this process is about to do. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2))
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // What a test looks into.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly json: any
}

export async function ask(server: ApiServer, path: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(server.url + path, init)
  const text = await response.text()
  const json =
    text !== '' && response.headers.get('content-type')?.startsWith('application/json') === true
      ? JSON.parse(text)
      : null
  return { status: response.status, headers: response.headers, text, json }
}

export function post(
  server: ApiServer,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return ask(server, path, {
    method: 'POST',
    body: text,
    headers: { 'content-type': 'application/json', ...headers },
  })
}

export const CHAT = '/v1/chat/completions'
export const TEXT = '/v1/completions'
export const hello = { model: 'scripted', messages: [{ role: 'user' as const, content: 'hello' }] }

/** A connection on which a test writes what it likes. */
export async function raw(
  server: ApiServer,
  bytes: string | Uint8Array = '',
): Promise<Socket & { heard: () => string }> {
  const socket = connect(server.port, server.address)
  let heard = ''
  socket.on('data', (part) => {
    heard += part.toString('latin1')
  })
  socket.on('error', () => {})
  await new Promise((resolve) => socket.on('connect', resolve))
  if (bytes.length > 0) socket.write(bytes)
  return Object.assign(socket, { heard: () => heard })
}

export function rawPost(path: string, body: string): string {
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}
