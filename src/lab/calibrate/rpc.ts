import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { z } from 'zod'
import { EdgewiseError } from '../../core/errors.ts'
import { check } from '../../core/schema.ts'
import type { CloudProcess, EdgeProcess } from './types.ts'

/** Messages in both directions between a parent process and its child, as over Node's IPC channel. */
export interface RpcChannel {
  send(message: unknown): void
  onMessage(listener: (message: unknown) => void): void
  onClose(listener: (why: string) => void): void
}

const callSchema = z.strictObject({
  id: z.int(),
  method: z.string().max(64),
  args: z.array(z.unknown()).max(8),
})
const answerSchema = z.strictObject({
  id: z.int(),
  value: z.unknown().optional(),
  error: z.strictObject({ code: z.string(), message: z.string() }).optional(),
})
/** What a child sends when it can be called. */
const READY = -1

/** Methods that can be called by name. */
export type RpcMethods = Readonly<Record<string, (...args: never[]) => Promise<unknown>>>

/** Serves calls of `methods` from the other end of the channel. */
export function serveRpc(methods: RpcMethods, channel: RpcChannel): void {
  channel.onMessage((message) => {
    const { id, method, args } = check(callSchema, message, 'call of a calibration process')
    const answer = async (): Promise<unknown> => {
      if (!Object.hasOwn(methods, method)) throw new EdgewiseError('E_INTERNAL', `no method ${method}`)
      return methods[method](...(args as never[]))
    }
    answer().then(
      (value) => channel.send({ id, value }),
      (error: unknown) => channel.send({ id, error: plain(error) }),
    )
  })
  channel.send({ id: READY })
}

function plain(error: unknown): { code: string; message: string } {
  if (error instanceof EdgewiseError) return { code: error.code, message: error.message }
  return {
    code: 'E_INTERNAL',
    message: error instanceof Error ? (error.stack ?? error.message) : String(error),
  }
}

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/** Calls methods at the other end; calls are rejected once the channel is closed. */
export class RpcClient {
  /** Resolves when the other end serves calls. */
  readonly ready: Promise<void>
  private readonly channel: RpcChannel
  private readonly waiting = new Map<number, Waiting>()
  private last = 0
  private gone: Error | null = null

  constructor(channel: RpcChannel, name: string) {
    this.channel = channel
    this.ready = new Promise((resolve, reject) =>
      this.waiting.set(READY, { resolve: () => resolve(), reject }),
    )
    // Keeps a rejection from being reported as unhandled if the other end exits while nothing awaits this.
    this.ready.catch(() => undefined)
    channel.onMessage((message) => this.take(message))
    channel.onClose((why) => {
      this.gone = new EdgewiseError('E_PROCESS', `the ${name} process ended: ${why}`)
      for (const { reject } of this.waiting.values()) reject(this.gone)
      this.waiting.clear()
    })
  }

  call<T>(method: string, ...args: unknown[]): Promise<T> {
    if (this.gone !== null) return Promise.reject(this.gone)
    this.last++
    const id = this.last
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.channel.send({ id, method, args })
    })
  }

  private take(message: unknown): void {
    const { id, value, error } = check(answerSchema, message, 'answer of a calibration process')
    const waiting = this.waiting.get(id)
    this.waiting.delete(id)
    if (error === undefined) waiting?.resolve(value)
    else waiting?.reject(new EdgewiseError(error.code, error.message))
  }
}

/** The edge in another process. */
export function remoteEdge(caller: RpcClient): EdgeProcess {
  return {
    connect: (link, host, port) => caller.call('connect', link, host, port),
    roundTrips: (link, count) => caller.call('roundTrips', link, count),
    profile: (task) => caller.call('profile', task),
    run: (task) => caller.call('run', task),
    collect: () => caller.call('collect'),
    load: (plan) => caller.call('load', plan),
    close: () => caller.call('close'),
  }
}

/** The cloud in another process. */
export function remoteCloud(caller: RpcClient): CloudProcess {
  return {
    address: () => caller.call('address'),
    holdReports: (held) => caller.call('holdReports', held),
    close: () => caller.call('close'),
  }
}

/** A child process. */
export interface Child {
  readonly caller: RpcClient
  /** Ends the process; resolves when it has exited. */
  end(): Promise<void>
}

const PATIENCE_MILLISECONDS = 3000

/** Starts `command` with an IPC channel. */
export function startChild(command: readonly string[], name: string): Child {
  const [program, ...args] = command
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  const gone = once(child, 'exit').catch(() => undefined)
  const channel: RpcChannel = {
    send: (message) => {
      if (child.connected) child.send(message as object)
    },
    onMessage: (listener) => child.on('message', listener),
    onClose: (listener) => {
      child.once('exit', (code, signal) => listener(signal ?? `exit code ${code}`))
      child.once('error', (error) => listener(error.message))
    },
  }
  return {
    caller: new RpcClient(channel, name),
    end: async () => {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MILLISECONDS)
      await gone
      clearTimeout(timer)
    },
  }
}

/** The channel to the parent process; null if there is none. */
export function parentChannel(): RpcChannel | null {
  if (process.send === undefined) return null
  return {
    send: (message) => {
      if (process.connected) process.send!(message)
    },
    onMessage: (listener) => process.on('message', listener),
    onClose: (listener) => process.once('disconnect', () => listener('the parent is gone')),
  }
}
