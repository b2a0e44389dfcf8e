import type { Clock } from '../base/clock.ts'
import { InputError } from '../base/errors.ts'
import type { ModelSpec } from '../model/spec.ts'
import { EDGE } from '../plan/plan.ts'
import { ConnectionError } from '../wire/errors.ts'
import { readRefusal } from '../wire/payloads.ts'
import { FRAME, type Connection, type Frame } from '../wire/types.ts'
import { payloadBytes } from './boundary.ts'
import { ExecutionError } from './errors.ts'
import { walkExitOnEdge } from './exitWalk.ts'
import type { WalkedToken } from './frames.ts'
import { Mailbox } from './mailbox.ts'
import { checkLengths, openFrame, planFrame, readReport } from './messages.ts'
import { NO_RECORD, type Recorder } from './record.ts'
import type { SegmentRunner } from './runner.ts'
import { sayIfOpen } from './say.ts'
import { planSchedule, type Schedule } from './schedule.ts'
import { Slots } from './slots.ts'
import type { ExecutionEvent, GeneratedToken, GenerationRequest, GenerationResult } from './types.ts'
import { walk, type Walk } from './walk.ts'

export interface EdgeOptions {
  readonly model: ModelSpec
  readonly runner: SegmentRunner
  readonly clock: Clock
  /** Null: plans that need the cloud are refused. */
  readonly connection: Connection | null
  /** Requests that are carried out at once; further ones wait, first come first served. */
  readonly maxInFlight: number
}

export interface GenerateOptions {
  /** Called as each token comes. */
  readonly onToken?: (token: GeneratedToken) => void
  readonly signal?: AbortSignal
  /** Notes what both sides did; the cloud is asked for its part. */
  readonly explain?: boolean
}

interface OpenRequest {
  readonly mailbox: Mailbox
  readonly report: (frame: Frame) => void
}

/** Carries out requests on the edge, with the cloud at the other end of `connection`. */
export class EdgeExecutor {
  private readonly options: EdgeOptions
  private readonly slots: Slots
  private readonly open = new Map<number, OpenRequest>()
  /** Numbers of the plans that the cloud has heard. */
  private readonly said = new Map<string, number>()
  private lastRequest = 0
  private gone: Error | null = null
  private offset: Promise<number> | null = null

  constructor(options: EdgeOptions) {
    this.options = options
    this.slots = new Slots(options.maxInFlight)
    options.connection?.onFrame((frame) => this.take(frame))
    options.connection?.onClose(({ message }) => this.lose(message))
  }

  get inFlight(): number {
    return this.slots.taken
  }

  get waiting(): number {
    return this.slots.waiting
  }

  /**
   * Generates until `maxNewTokens` or a stop id. Throws InputError for a request that cannot be, ExecutionError
   * where it could not go on: the tokens so far went to `onToken`.
   */
  async generate(request: GenerationRequest, options: GenerateOptions = {}): Promise<GenerationResult> {
    const { model } = this.options
    checkRequest(model, request)
    const schedule = planSchedule(model, request.plan, request.cloudUnits)
    const usesCloud =
      request.plan.exit === null ? schedule.usesCloud : request.plan.exit.mode === 'collaborative'
    if (usesCloud) this.requireCloud()
    const release = await this.slots.take(options.signal)
    try {
      return await this.carryOut(request, schedule, usesCloud, options)
    } finally {
      release()
    }
  }

  private async carryOut(
    request: GenerationRequest,
    schedule: Schedule,
    usesCloud: boolean,
    { onToken, signal, explain = false }: GenerateOptions,
  ): Promise<GenerationResult> {
    const { clock } = this.options
    const clockOffset = explain && usesCloud ? await this.clockOffset() : 0
    const events: ExecutionEvent[] = []
    const tokens: GeneratedToken[] = []
    const dispatchSeconds = clock.nowSeconds()
    const call = this.call(request, usesCloud, explain)
    const record: Recorder = explain ? (event) => events.push(event) : NO_RECORD
    const w = this.walkOf(request, call, record, (token) => {
      const generated = { ...token, atSeconds: clock.nowSeconds() }
      tokens.push(generated)
      onToken?.(generated)
      // A request that waits for no message hears of an abort here alone.
      if (signal?.aborted === true) throw cancelled()
    })
    const cancel = () => call.mailbox.fail(cancelled())
    signal?.addEventListener('abort', cancel)
    try {
      if (signal?.aborted === true) throw cancelled()
      // The cloud loads its part while the edge is at its own.
      if (usesCloud) call.announce()
      const { exit } = request.plan
      await (exit === null ? walk(w, schedule) : walkExitOnEdge(w, exit))
      // A cloud that does not sample does not know that this was the last token.
      if (exit !== null || schedule.head === EDGE) call.close()
      if (explain && usesCloud) events.push(...readReport(await call.reported(), clockOffset))
      const nearTies = tokens.filter((token) => token.nearTie).length
      return { tokens, dispatchSeconds, nearTies, events }
    } catch (error) {
      call.close()
      throw error instanceof ConnectionError ? noCloud(error.message, error) : error
    } finally {
      signal?.removeEventListener('abort', cancel)
      call.forget()
      await w.caches.dispose()
    }
  }

  private walkOf(
    request: GenerationRequest,
    call: Call,
    record: Recorder,
    onToken: (token: WalkedToken) => void,
  ): Walk {
    const { model, runner, clock } = this.options
    const { prompt, maxNewTokens, sampling, stopIds, plan } = request
    return {
      ...{ side: EDGE, model, runner, clock, caches: runner.newCaches(), peer: call, record, onToken },
      ...{ prompt, promptTokens: prompt.length, maxNewTokens, sampling, stopIds },
      boundaryBits: plan.boundaryBits,
    }
  }

  /** A request's line to the cloud. Its opening travels with its first message, in one write. */
  private call(request: GenerationRequest, usesCloud: boolean, explain: boolean): Call {
    const { model, connection } = this.options
    const { prompt, maxNewTokens, sampling, stopIds } = request
    this.lastRequest++
    const number = this.lastRequest
    const mailbox = new Mailbox(payloadBytes(prompt.length + maxNewTokens, model.width + model.ffnWidth, 32))
    let report: (frame: Frame) => void = () => {}
    const reported = new Promise<Frame>((resolve) => (report = resolve))
    if (usesCloud) this.open.set(number, { mailbox, report })
    let opened = false
    const opening = (): Frame[] => {
      opened = true
      const { plan } = this.planOf(request)
      const lengths = { promptTokens: prompt.length, maxNewTokens }
      return [openFrame(number, { plan, ...lengths, sampling, stopIds: [...stopIds], report: explain })]
    }
    return {
      mailbox,
      announce: () => {
        const { frames } = this.planOf(request)
        if (frames.length > 0) connection!.send(...frames)
      },
      reported: () => Promise.race([reported, mailbox.failed]),
      send: (frame) => connection!.send(...(opened ? [] : opening()), { ...frame, request: number }),
      take: (position, step) => mailbox.take(position, step),
      close: () => {
        if (opened && this.gone === null) sayIfOpen(connection!, { ...CLOSE, request: number })
      },
      forget: () => this.open.delete(number),
    }
  }

  /** The number of a request's plan, and the frame that says it where the cloud has not heard it. */
  private planOf(request: GenerationRequest): { plan: number; frames: Frame[] } {
    const { model } = this.options
    const number = this.said.size + 1
    const frame = planFrame(model, number, request)
    const key = Buffer.from(frame.payload).toString()
    const known = this.said.get(key)
    if (known !== undefined) return { plan: known, frames: [] }
    this.said.set(key, number)
    return { plan: number, frames: [frame] }
  }

  private take(frame: Frame): void {
    const open = this.open.get(frame.request)
    if (open === undefined) return
    if (frame.type === FRAME.report) open.report(frame)
    else if (frame.type === FRAME.fail) {
      const { code, message } = readRefusal(frame)
      open.mailbox.fail(
        new ExecutionError('E_PEER_FAILED', `the cloud gave the request up (${code})\n${message}`),
      )
    } else {
      try {
        open.mailbox.deliver(frame, this.options.clock.nowSeconds())
      } catch (error) {
        open.mailbox.fail(error as Error)
      }
    }
  }

  private lose(message: string): void {
    this.gone = noCloud(message)
    for (const { mailbox } of this.open.values()) mailbox.fail(this.gone)
  }

  private requireCloud(): void {
    if (this.gone !== null) throw this.gone
    if (this.options.connection !== null) return
    throw new ExecutionError('E_NO_CLOUD', 'the plan needs the cloud, and there is no connection to one')
  }

  /** The cloud's clock less ours, measured once: by the quickest of a few pings, which waited least on its way. */
  private clockOffset(): Promise<number> {
    this.offset ??= quickestOffset(this.options.connection!)
    return this.offset
  }
}

interface Call {
  readonly mailbox: Mailbox
  /** Says the plan where the cloud has not heard it. */
  announce(): void
  /** What the cloud reports, once it has. */
  reported(): Promise<Frame>
  send(frame: Omit<Frame, 'request'>): void
  take: Mailbox['take']
  /** Tells the cloud that the request is over, if it ever heard of it. */
  close(): void
  forget(): void
}

const OFFSET_PINGS = 5

async function quickestOffset(connection: Connection): Promise<number> {
  let best = await connection.ping()
  for (let i = 1; i < OFFSET_PINGS; i++) {
    const next = await connection.ping()
    if (next.rttSeconds < best.rttSeconds) best = next
  }
  return best.clockOffsetSeconds
}

const CLOSE: Omit<Frame, 'request'> = {
  ...{ type: FRAME.close, step: 0, position: 0, count: 0, bits: 0, flags: 0 },
  payload: new Uint8Array(0),
}

function noCloud(message: string, cause?: unknown): ExecutionError {
  return new ExecutionError('E_NO_CLOUD', `the connection to the cloud is gone: ${message}`, { cause })
}

function cancelled(): ExecutionError {
  return new ExecutionError('E_CANCELLED', 'the request was cancelled')
}

function checkRequest(model: ModelSpec, { prompt, maxNewTokens, plan, cloudUnits }: GenerationRequest): void {
  const refuse = (where: string, expected: string, found: string): never => {
    throw new InputError({ where: `request: ${where}`, expected, found })
  }
  if (prompt.length === 0) refuse('prompt', 'at least one token', 'none')
  const unknown = prompt.find((id) => !Number.isInteger(id) || id < 0 || id >= model.vocabulary)
  if (unknown !== undefined) refuse('prompt', `ids in 0..${model.vocabulary - 1}`, String(unknown))
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1)
    refuse('maxNewTokens', 'at least 1', String(maxNewTokens))
  checkLengths(model, prompt.length, maxNewTokens, 'request')
  if (plan.ffn.length !== model.layers || cloudUnits.length !== model.layers)
    refuse(
      'plan',
      `${model.layers} layers, those of ${model.id}`,
      `${plan.ffn.length} and ${cloudUnits.length}`,
    )
  const odd = cloudUnits.findIndex((units, layer) => units.length !== plan.unitsOnCloud[layer])
  if (odd >= 0) refuse(`plan, layer ${odd}`, `${plan.unitsOnCloud[odd]} units`, `${cloudUnits[odd].length}`)
}
