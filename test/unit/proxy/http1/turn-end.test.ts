/** What is sent at the end of a turn: all that was left in it, in order, once, and not too much at once. */
import type { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { MessageWriter } from '../../../../lib/proxy/http1/message-writer.ts'
import { atTurnEnd } from '../../../../lib/proxy/http1/turn-end.ts'

function wire() {
  const writes: string[] = []
  const socket = { writable: true, writableNeedDrain: false, write: (text: string) => writes.push(text) > 0 }
  return { writes, socket, writer: new MessageWriter(socket as unknown as Socket) }
}

t.test('in the order in which it was left, all in one turn', async t => {
  const sent: number[] = []
  for (let n = 0; n < 10; n++) atTurnEnd({ turnEnds: () => sent.push(n) })
  t.same(sent, [], 'not yet')
  await turn()
  t.same(sent, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

t.test('a long line is sent at once, and what comes after it with the turn', async t => {
  let sent = 0
  const sender = { turnEnds: () => void sent++ }
  for (let n = 0; n < 40; n++) atTurnEnd(sender)
  t.equal(sent, 32)
  await turn()
  t.equal(sent, 40)
})

t.test('who is put in line by one that is sent has its turn too', async t => {
  const sent: string[] = []
  const second = { turnEnds: () => void sent.push('second') }
  atTurnEnd({
    turnEnds: () => {
      sent.push('first')
      atTurnEnd(second)
    },
  })
  await turn()
  await turn()
  t.same(sent, ['first', 'second'])
})

t.test('answers of one turn are one write', async t => {
  const { writer, writes } = wire()
  for (const body of ['one', 'two']) {
    writer.begin(`HEAD ${body}\r\n\r\n`, 'length', 3)
    writer.write(Buffer.from(body))
    writer.end([])
  }
  t.equal(writer.holds, true)
  t.same(writes, [])
  await turn()
  t.same(writes, ['HEAD one\r\n\r\noneHEAD two\r\n\r\ntwo'])
  t.equal(writer.holds, false)
})

t.test('what has to be out now is, and not a second time', async t => {
  const { writer, writes, socket } = wire()
  writer.begin('HEAD\r\n\r\n', 'none', 0)
  writer.flush()
  writer.sendNow()
  t.same(writes, ['HEAD\r\n\r\n'])
  await turn()
  t.equal(writes.length, 1)
  writer.begin('NEXT\r\n\r\n', 'none', 0)
  writer.flush()
  socket.writable = false
  await turn()
  t.equal(writes.length, 1, 'to a socket that was ended nothing is written')
})
