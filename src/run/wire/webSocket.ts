import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type WebSocket from 'ws'
import { TokenBucket } from '../../core/tokenBucket.ts'
import type { Transport } from './transport.ts'
import { WireConnection } from './connection.ts'
import type { ConnectionOptions, Handshake } from './connection.ts'
import { WireError } from './errors.ts'
import { peerIdentity } from './tls.ts'

/** Largest message that either side sends or accepts; the stream of frames is split into messages. */
const MESSAGE_BYTES = 256 * 1024
/** Limit on WebSocket's own pings that are answered; a proxy sends one every few seconds. */
const MAX_PINGS_PER_SECOND = 10

/** Options with which both ends open a WebSocket. No compression: a small message could expand to a large one. */
export const SOCKET_OPTIONS = {
  perMessageDeflate: false,
  maxPayload: MESSAGE_BYTES,
  autoPong: false,
  skipUTF8Validation: true,
} as const

/**
 * Creates a connection over an open WebSocket: its binary messages form one stream of bytes, however they are split.
 * @param line the socket under the WebSocket, for the peer's name
 */
export function overWebSocket(
  socket: WebSocket,
  line: Duplex,
  handshake: Handshake,
  options: ConnectionOptions,
): WireConnection {
  const connection = new WireConnection(transportOf(socket, line), handshake, options)
  const pings = new TokenBucket(MAX_PINGS_PER_SECOND, options.clock.nowSeconds())
  let cause: Error | undefined
  socket.binaryType = 'nodebuffer'
  socket.on('message', (data, isBinary) => {
    const chunk = data as Buffer
    if (isBinary && chunk.length > 0) connection.receive(chunk)
    else connection.fail(new WireError('E_WIRE_HEADER', 'WebSocket message', 'bytes', 'text, or nothing'))
  })
  socket.on('ping', (data) => {
    if (pings.take(1, options.clock.nowSeconds())) socket.pong(data)
    else connection.fail(new WireError('E_WIRE_RATE', 'pings', `${MAX_PINGS_PER_SECOND} a second`, 'more'))
  })
  socket.on('error', (error) => {
    cause = error
    socket.terminate()
  })
  socket.on('close', () => {
    if (cause === undefined) connection.ended()
    connection.transportGone(cause)
  })
  return connection
}

function transportOf(socket: WebSocket, line: Duplex): Transport {
  const isOpen = (): boolean => socket.readyState === socket.OPEN
  return {
    identity: line instanceof TLSSocket ? peerIdentity(line) : null,
    get queuedBytes() {
      return socket.bufferedAmount
    },
    write(parts) {
      if (!isOpen()) return
      line.cork()
      for (const message of messagesOf(parts)) socket.send(message, { binary: true, compress: false })
      line.uncork()
    },
    end() {
      if (isOpen()) socket.close(1000)
    },
    destroy() {
      socket.terminate()
    },
  }
}

function* messagesOf(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  for (const part of parts) {
    for (let at = 0; at < part.length; at += MESSAGE_BYTES) yield part.subarray(at, at + MESSAGE_BYTES)
  }
}
