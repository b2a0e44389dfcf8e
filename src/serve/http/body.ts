import type { IncomingMessage } from 'node:http'
import { ApiError, badRequest } from './errors.ts'

/** Bytes beyond the cap that are still taken, unkept, so that a client hears why instead of a reset. */
const DISCARDED_BYTES = 8 * 1024 * 1024

/** The client went away; nobody is there to be told. The status is nginx's. */
export function clientLeft(): ApiError {
  const message = 'the client left'
  return new ApiError({ status: 499, type: 'invalid_request_error', code: 'client_left', message })
}

/**
 * A request's body as JSON of at most `maxBytes`. Throws ApiError (400, 413, 415), or why `signal` was aborted before
 * all of it was there.
 */
export async function readJson(
  request: IncomingMessage,
  maxBytes: number,
  signal: AbortSignal,
): Promise<unknown> {
  checkContentType(request)
  const bytes = await readBytes(request, maxBytes, signal)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw notJson(error)
  }
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    throw notJson(error)
  }
}

function notJson(error: unknown): ApiError {
  return badRequest('invalid_json', `the body is no JSON: ${(error as Error).message.slice(0, 200)}`)
}

/** A page of another site can send a browser here with any other type, but with this one only if it is let to. */
function checkContentType({ headers }: IncomingMessage): void {
  const type = headers['content-type'] ?? ''
  const [media, ...parameters] = type.split(';').map((part) => part.trim().toLowerCase())
  const utf8 = parameters.every((one) => !one.startsWith('charset=') || /^charset="?utf-8"?$/.test(one))
  if (media !== 'application/json' || !utf8) {
    const found = JSON.stringify(type.slice(0, 80))
    throw badRequest(
      'unsupported_media_type',
      `Content-Type: expected application/json, found ${found}`,
      undefined,
      415,
    )
  }
  const encoding = headers['content-encoding'] ?? 'identity'
  if (encoding === 'identity') return
  const message = 'Content-Encoding: compressed bodies are not taken'
  throw badRequest('unsupported_media_type', message, undefined, 415)
}

function readBytes(request: IncomingMessage, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  const message = `the body is larger than ${maxBytes} bytes`
  const tooLarge = badRequest('body_too_large', message, undefined, 413)
  return new Promise((resolve, reject) => {
    const announced = Number(request.headers['content-length'] ?? 0)
    if (announced > maxBytes + DISCARDED_BYTES) {
      reject(tooLarge)
      return
    }
    let parts: Buffer[] = []
    let size = 0
    request.on('data', (part: Buffer) => {
      size += part.length
      if (size <= maxBytes) parts.push(part)
      else parts = []
      if (size > maxBytes + DISCARDED_BYTES) reject(tooLarge)
    })
    request.on('end', () => {
      if (size > maxBytes) reject(tooLarge)
      else resolve(Buffer.concat(parts, size))
    })
    request.on('error', () => reject(clientLeft()))
    signal.addEventListener('abort', () => reject(signal.reason as Error))
    if (signal.aborted) reject(signal.reason as Error)
  })
}
