import type { Timers } from '../../core/timers.ts'
import type { ServerResponse } from 'node:http'

interface ResponseWriterOptions {
  readonly timers: Timers
  readonly unreadBytes: number
  readonly unreadSeconds: number
  readonly heartbeatSeconds: number
  /** The client does not take what it is sent; its connection is closed already. */
  readonly onUnread: () => void
}

const EVENT_STREAM = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache',
  // nginx would hold events back.
  'x-accel-buffering': 'no',
}

/**
 * What one request is answered with: JSON or server-sent events. Gives a client up that leaves more than `unreadBytes`
 * of it unread, or anything for `unreadSeconds`.
 */
export class ResponseWriter {
  private readonly response: ServerResponse
  private readonly options: ResponseWriterOptions
  private disarmUnread: (() => void) | null = null
  private disarmHeartbeat: (() => void) | null = null

  constructor(response: ServerResponse, options: ResponseWriterOptions) {
    this.response = response
    this.options = options
    response.on('drain', () => this.taken())
    response.on('close', () => {
      this.taken()
      this.disarmHeartbeat?.()
      // Held text is still shown to who left: it must not begin anew.
      this.disarmHeartbeat = null
    })
  }

  /** Whether a status was sent: it is too late for another. */
  get headersSent(): boolean {
    return this.response.headersSent
  }

  json(status: number, body: object, headers: Readonly<Record<string, string>> = {}): void {
    this.text(status, JSON.stringify(body), { ...headers, 'content-type': 'application/json; charset=utf-8' })
  }

  text(status: number, body: string, headers: Readonly<Record<string, string>>): void {
    if (this.response.destroyed || this.response.headersSent) return
    this.response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) })
    this.end(body)
  }

  /** Says now and then that the stream is alive, from its beginning on. */
  keepAlive(): void {
    this.disarmHeartbeat?.()
    this.disarmHeartbeat = this.options.timers.after(this.options.heartbeatSeconds, () => {
      this.write(': still at it\n\n')
      this.keepAlive()
    })
  }

  event(data: object | '[DONE]'): void {
    this.write(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`)
    if (this.disarmHeartbeat !== null) this.keepAlive()
  }

  end(last = ''): void {
    this.disarmHeartbeat?.()
    this.disarmHeartbeat = null
    if (this.response.destroyed) return
    this.response.end(last)
    if (!this.response.writableFinished) this.unread()
  }

  private write(text: string): void {
    if (this.response.destroyed || this.response.writableEnded) return
    if (!this.response.headersSent) this.response.writeHead(200, EVENT_STREAM)
    if (this.response.write(text)) return
    if (this.response.writableLength > this.options.unreadBytes) this.giveUp()
    else this.unread()
  }

  private unread(): void {
    this.disarmUnread ??= this.options.timers.after(this.options.unreadSeconds, () => this.giveUp())
  }

  private taken(): void {
    this.disarmUnread?.()
    this.disarmUnread = null
  }

  private giveUp(): void {
    this.response.destroy()
    this.options.onUnread()
  }
}
