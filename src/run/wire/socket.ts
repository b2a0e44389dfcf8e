import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { Transport } from './transport.ts'
import { WireConnection } from './connection.ts'
import type { ConnectionOptions, Handshake } from './connection.ts'
import { peerIdentity, trustError } from './tls.ts'

/** Lets a stream socket, TLS or not, carry a connection. The greeting does not begin before `start`. */
export function overSocket(socket: Duplex, handshake: Handshake, options: ConnectionOptions): WireConnection {
  const connection = new WireConnection(carriageOf(socket), handshake, options)
  let cause: Error | undefined
  socket.on('data', (chunk: Uint8Array) => connection.receive(chunk))
  socket.on('end', () => connection.ended())
  socket.on('error', (error) => (cause = (socket instanceof TLSSocket ? trustError(error) : null) ?? error))
  socket.on('close', () => connection.carriageGone(cause))
  return connection
}

function carriageOf(socket: Duplex): Transport {
  let identity: string | null = null
  return {
    get identity() {
      if (socket instanceof TLSSocket) identity ??= peerIdentity(socket)
      return identity
    },
    get queuedBytes() {
      return socket.writableLength
    },
    write(parts) {
      if (socket.writableEnded || socket.destroyed) return
      // One gathered write (writev): a header never travels in a packet of its own.
      socket.cork()
      for (const part of parts) socket.write(part)
      socket.uncork()
    },
    end() {
      socket.end()
    },
    destroy() {
      socket.destroy()
    },
  }
}
