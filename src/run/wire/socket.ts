import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { Transport } from './transport.ts'
import { WireConnection } from './connection.ts'
import type { ConnectionOptions, Handshake } from './connection.ts'
import { peerIdentity, trustError } from './tls.ts'

/** Creates a connection over a stream socket, with or without TLS. The greeting begins at `start`. */
export function overSocket(socket: Duplex, handshake: Handshake, options: ConnectionOptions): WireConnection {
  const connection = new WireConnection(transportOf(socket), handshake, options)
  let cause: Error | undefined
  socket.on('data', (chunk: Uint8Array) => connection.receive(chunk))
  socket.on('end', () => connection.ended())
  socket.on('error', (error) => (cause = (socket instanceof TLSSocket ? trustError(error) : null) ?? error))
  socket.on('close', () => connection.transportGone(cause))
  return connection
}

function transportOf(socket: Duplex): Transport {
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
      // One gathered write (writev), so that a header is never sent in a packet of its own.
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
