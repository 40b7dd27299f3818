/* Starting states of streams: which groups there are and how far they came, who died in what, and who
 * sleeps. The first group is the one that consumers are killed in; the second may come after it. */
#ifndef KILLPOINTS_STREAMS_STATES_H
#define KILLPOINTS_STREAMS_STATES_H

#include "states.h"

#define STREAM 4u
#define DROPPING 8u

/* ---- by the survivor ------------------------------------------------------------------------------ */

static void open_group(scene *of, const char *name, uint64_t after, uint32_t policy,
                       uint64_t keep_ns) {
  actor who;
  shmq_join_wish wish = group_wish(&of->view, name, after, policy, keep_ns, SHMQ_START_OLDEST);
  actor_init(&who, &of->view, 0, of->limit_ns);
  must(join_group(&who, &wish) == SHMQ_OK, "open a group");
}
static void open_first(scene *of) { open_group(of, "first", 0, SHMQ_POLICY_BLOCK, 0); }
static void open_second(scene *of) { open_group(of, "second", 0, SHMQ_POLICY_BLOCK, 0); }
static void open_follower(scene *of) {
  open_group(of, "second", shmq_group_bit(FIRST_GROUP), SHMQ_POLICY_BLOCK, 0);
}

static void take(scene *of, uint32_t group, uint32_t count) {
  actor who;
  uint64_t begun = sequence_of(shmq_group_head(&of->view, group));
  must(survivor_takes(of, &who, group, begun + count, 1), "take from a group");
}

/* Large and small items in turn, until the ring is full. */
static void add_blocks(scene *of) {
  for (uint32_t i = 0; i < SMALL_RING; i++) add(of, i % 2 ? 0 : BLOCK_BYTES);
}

/* ---- by those who died of it ---------------------------------------------------------------------- */

static void fail_unless(int worked) {
  if (!worked) _exit(4);
}

static void own(scene *of, shmq_end *end) { fail_unless(shmq_end_try_acquire(&of->view, end)); }
static void own_floor(scene *of) { own(of, shmq_head(&of->view)); }
static void own_first_head(scene *of) { own(of, shmq_group_head(&of->view, FIRST_GROUP)); }
static void own_stream(scene *of) {
  own_all(of);
  own_first_head(of);
}

/* Takes two items of the first group, and works on them. */
static void hold_two(scene *of) {
  actor who;
  actor_init(&who, &of->view, 0, of->limit_ns);
  read_from(&who, FIRST_GROUP);
  fail_unless(get_items(&who, 2) == SHMQ_OK && who.count == 2);
}

static void pin_large(scene *of) {
  actor who;
  actor_init(&who, &of->view, 0, of->limit_ns);
  read_from(&who, SECOND_GROUP);
  fail_unless(view_item(&who) == SHMQ_OK && who.taken[0].block != SHMQ_NO_BLOCK);
}

static void subscribe_and_die(scene *of) {
  actor who;
  actor_init(&who, &of->view, 0, of->limit_ns);
  fail_unless(subscribe(&who) == SHMQ_OK);
}

/* Has begun to open a group in the second row: its head's state says so, and its bit doesn't. */
static void open_half(scene *of) {
  shmq_end *head = shmq_group_head(&of->view, SECOND_GROUP);
  own_floor(of);
  own(of, head);
  store_relaxed(&head->sequence, sequence_of(shmq_head(&of->view)));
  store_release(&head->state, SHMQ_END_OPENING | SHMQ_END_OPEN);
}

/* Has begun to remove the second group: its state says so, and its bit doesn't. */
static void remove_half(scene *of) {
  shmq_end *head = shmq_group_head(&of->view, SECOND_GROUP);
  own_floor(of);
  own(of, head);
  store_release(&head->state, load_relaxed(&head->state) & ~SHMQ_END_BITS);
}

/* Has begun to raise the floor over all that there is, and freed the first block of it. */
static void raise_half(scene *of) {
  shmq_end *floor = shmq_head(&of->view);
  own_floor(of);
  store_release(&floor->passed, sequence_of(shmq_tail(&of->view)));
  shmq_floor_free_blocks(&of->view, sequence_of(floor), sequence_of(floor) + 1);
}

static void begin_to_write_and_die(scene *of) {
  actor who;
  actor_init(&who, &of->view, 0, of->limit_ns);
  fail_unless(begin_to_write(&who) == SHMQ_OK);
}

/* ---- the states ----------------------------------------------------------------------------------- */

/* A writer dies, whose row is not the first that is given next. */
static void die_as_writer(scene *of) {
  actor first;
  actor_init(&first, &of->view, 0, of->limit_ns);
  must(begin_to_write(&first) == SHMQ_OK, "register a writer");
  die_of(of, 0, begin_to_write_and_die);
  shmq_writer_end(&of->view, first.writer);
}

static void build_held(scene *of) { add_several(of, 2); }
static void build_held_full(scene *of) { add_blocks(of); }
static void build_group(scene *of) { open_first(of); }
static void build_waiting(scene *of) {
  open_first(of);
  add_several(of, 3);
}
static void build_gated(scene *of) {
  open_first(of);
  add_several(of, SMALL_RING);
}
static void build_gated_large(scene *of) {
  open_first(of);
  add_blocks(of);
}
/* Full, and all of it taken: whoever puts next raises the floor. */
static void build_taken(scene *of) {
  build_gated(of);
  take(of, FIRST_GROUP, SMALL_RING);
}
static void build_taken_large(scene *of) {
  build_gated_large(of);
  take(of, FIRST_GROUP, SMALL_RING);
}
static void build_large(scene *of) {
  open_first(of);
  add(of, BLOCK_BYTES);
  add(of, 0);
}
static void build_two(scene *of) {
  open_first(of);
  open_second(of);
  add_several(of, SMALL_RING);
  take(of, FIRST_GROUP, 3);
  take(of, SECOND_GROUP, 1);
}
static void build_lagging(scene *of) {
  open_group(of, "first", 0, SHMQ_POLICY_LAG, 0);
  add_blocks(of);
  add_several(of, 2);
}
/* The second loses what the first has seen. */
static void build_lagging_second(scene *of) {
  open_first(of);
  open_group(of, "second", 0, SHMQ_POLICY_LAG, 0);
  add_blocks(of);
  take(of, FIRST_GROUP, SMALL_RING);
}
static void build_late(scene *of) {
  open_group(of, "first", 0, SHMQ_POLICY_DROP, 1);
  add_blocks(of);
}
static void build_patient(scene *of) {
  open_group(of, "first", 0, SHMQ_POLICY_DROP, LONG_KEPT);
  add_several(of, SMALL_RING);
}
static void build_pipeline(scene *of) {
  open_first(of);
  open_follower(of);
  add_several(of, 3);
}
static void build_pipeline_large(scene *of) {
  open_first(of);
  open_follower(of);
  add_blocks(of);
}
static void build_followed(scene *of) {
  build_pipeline(of);
  add(of, 0);
  take(of, FIRST_GROUP, 3);
}
static void build_dead_holder(scene *of) {
  build_pipeline(of);
  die_of(of, 0, hold_two);
}
static void build_dead_subscriber(scene *of) {
  open_first(of);
  die_of(of, 0, subscribe_and_die);
  add_blocks(of);
  take(of, FIRST_GROUP, SMALL_RING);
}
/* There is room in the ring, and no memory but for what only the dead one has not taken. */
static void build_dead_subscriber_no_memory(scene *of) {
  open_first(of);
  die_of(of, 0, subscribe_and_die);
  for (uint32_t i = 0; i < SMALL_RING - 1; i++) add(of, POOL_PAGES / (SMALL_RING - 1) * SHMQ_PAGE);
  take(of, FIRST_GROUP, SMALL_RING - 1);
}
static void build_subscriber_alone(scene *of) {
  die_of(of, 0, subscribe_and_die);
  add_several(of, 3);
}
static void build_half_opened(scene *of) {
  open_first(of);
  add_several(of, 3);
  take(of, FIRST_GROUP, 2);
  die_of(of, 0, open_half);
}
/* Everything waits for it, if nobody notices. */
static void build_half_removed(scene *of) {
  open_first(of);
  open_second(of);
  add_several(of, SMALL_RING);
  take(of, FIRST_GROUP, SMALL_RING);
  die_of(of, 0, remove_half);
}
static void build_half_raised(scene *of) {
  build_taken_large(of);
  die_of(of, 0, raise_half);
}
static void build_half_raised_lagging(scene *of) {
  open_group(of, "first", 0, SHMQ_POLICY_LAG, 0);
  add_blocks(of);
  die_of(of, 0, raise_half);
}
static void build_stale_floor(scene *of) {
  build_taken(of);
  die_of(of, 0, own_floor);
}
static void build_stale_group(scene *of) {
  build_waiting(of);
  die_of(of, 0, own_first_head);
}
static void build_stale_stream(scene *of) {
  build_pipeline(of);
  die_of(of, 0, own_stream);
}
static void build_outlived_stream(scene *of) {
  build_pipeline(of);
  die_of(of, 1, own_stream);
}
static void build_half_put_stream(scene *of) {
  actor who;
  build_taken(of);
  actor_init(&who, &of->view, 0, of->limit_ns);
  must(raise_floor(&who) == SHMQ_OK, "raise the floor");
  die_of(of, 0, write_half);
}
/* A dead reader has pinned an item that all groups have seen. */
static void build_pinned(scene *of) {
  open_first(of);
  open_second(of);
  add_blocks(of);
  take(of, FIRST_GROUP, SMALL_RING);
  take(of, SECOND_GROUP, 2);
  die_of(of, 0, pin_large);
  take(of, SECOND_GROUP, 1);
}
/* ... or the survivor has, who lives. */
static void build_viewed(scene *of) {
  actor who;
  build_gated_large(of);
  actor_init(&who, &of->view, 0, of->limit_ns);
  read_from(&who, FIRST_GROUP);
  must(take_items(&who, 1, buffer, sizeof(buffer)) == SHMQ_OK, "take a large item");
  of->kept_block = who.taken[0].block;
  of->kept_pinner = who.reader->pinner;
  of->kept_id = *id_at(of, 0);
  take(of, FIRST_GROUP, SMALL_RING - 1);
}
static void build_written(scene *of) {
  build_waiting(of);
  die_as_writer(of);
}
static void build_all_written(scene *of) {
  open_first(of);
  die_as_writer(of);
}
/* The survivor is a writer as well: nothing ends before it has finished. */
static void build_writing(scene *of) {
  actor who;
  open_first(of);
  die_as_writer(of);
  actor_init(&who, &of->view, 0, of->limit_ns);
  must(begin_to_write(&who) == SHMQ_OK, "register a writer");
  of->is_writing = 1;
  of->writer = who.writer;
}
static void build_ended(scene *of) {
  actor who;
  open_first(of);
  open_second(of);
  add_several(of, 2);
  actor_init(&who, &of->view, 0, of->limit_ns);
  must(shut(&who) == SHMQ_OK, "shut");
}
static void build_follower_asleep(scene *of) {
  build_pipeline(of);
  of->sleeps_in = SECOND_GROUP;
}
/* The producer waits for the first group; the second has seen everything. */
static void build_producer_asleep(scene *of) {
  open_first(of);
  open_second(of);
  add_several(of, SMALL_RING);
  take(of, SECOND_GROUP, SMALL_RING);
}

#define PUTS "put put_batch put_mixed put_block put_large"

static const state stream_states[] = {
    {"held", STREAM | DROPPING, SMALL_RING, 0, NOBODY, build_held,
     PUTS " open open_next subscribe unsubscribe get_subscribed register finish_writing attach close "
          "sweep raise shutdown look"},
    {"held_full", STREAM | DROPPING, SMALL_RING, 0, NOBODY, build_held_full,
     PUTS " reserve open open_next subscribe get_subscribed raise sweep"},
    {"group", STREAM, SMALL_RING, 0, NOBODY, build_group,
     PUTS " reserve commit abort get open open_next open_after join remove subscribe unsubscribe "
          "get_subscribed register finish_writing attach close sweep raise shutdown shutdown_now track "
          "skip look give_back"},
    {"waiting", STREAM, SMALL_RING, 0, NOBODY, build_waiting,
     "get get_batch get_several skip track close_reader put put_batch put_mixed open open_next "
     "open_after remove subscribe get_subscribed raise sweep shutdown shutdown_now look"},
    {"gated", STREAM, SMALL_RING, 0, NOBODY, build_gated,
     "put put_batch put_block reserve get get_batch skip remove subscribe sweep raise"},
    {"taken", STREAM, SMALL_RING, 0, NOBODY, build_taken,
     PUTS " reserve commit get open remove subscribe unsubscribe raise give_back attach"},
    {"taken_large", STREAM, SMALL_RING, 0, NOBODY, build_taken_large,
     PUTS " reserve abort raise open remove unsubscribe give_back sweep trim_pool"},
    {"large", STREAM, SMALL_RING, 0, NOBODY, build_large,
     "get get_batch get_several view release release_passed close_reader skip put_block raise remove sweep "
     "shutdown"},
    {"two", STREAM, SMALL_RING, 0, NOBODY, build_two,
     "put put_batch put_block get get_batch follow follow_batch skip remove remove_second open raise"},
    {"lagging", STREAM, SMALL_RING, 0, NOBODY, build_lagging,
     PUTS " get get_batch get_several view release release_passed skip open remove raise look"},
    {"lagging_second", STREAM, SMALL_RING, 0, NOBODY, build_lagging_second,
     PUTS " follow follow_batch raise open remove remove_second sweep"},
    {"late", STREAM, SMALL_RING, 0, NOBODY, build_late, PUTS " get get_batch view raise skip"},
    {"patient", STREAM, SMALL_RING, 0, NOBODY, build_patient, "put put_block get get_batch raise"},
    {"pipeline", STREAM, SMALL_RING, 0, NOBODY, build_pipeline,
     "get get_batch get_several get_more finish close_reader skip track follow put put_batch remove "
     "remove_second open_after join raise sweep shutdown look"},
    {"pipeline_large", STREAM, SMALL_RING, 0, NOBODY, build_pipeline_large,
     "get get_several get_more view release finish close_reader follow put_block raise"},
    {"followed", STREAM, SMALL_RING, 0, NOBODY, build_followed,
     "follow follow_batch get get_more finish put put_batch remove_second raise look"},
    {"dead_holder", STREAM, SMALL_RING, 0, NOBODY, build_dead_holder,
     "follow follow_batch get get_more finish put put_batch attach sweep remove_second open_after"},
    {"dead_subscriber", STREAM, SMALL_RING, 0, NOBODY, build_dead_subscriber,
     PUTS " reserve get open subscribe unsubscribe attach sweep raise give_back"},
    {"dead_subscriber_no_memory", STREAM, SMALL_RING, 0, NOBODY, build_dead_subscriber_no_memory,
     "put put_mixed put_block put_large reserve get subscribe sweep raise give_back"},
    {"subscriber_alone", STREAM | DROPPING, SMALL_RING, 0, NOBODY, build_subscriber_alone,
     "put put_batch open subscribe get_subscribed sweep raise"},
    {"half_opened", STREAM, SMALL_RING, 0, NOBODY, build_half_opened,
     "put put_batch get open open_after join subscribe remove attach sweep raise"},
    {"half_removed", STREAM, SMALL_RING, 0, NOBODY, build_half_removed,
     "put put_batch put_block get follow open open_after join subscribe remove remove_second attach "
     "sweep raise"},
    {"half_raised", STREAM, SMALL_RING, 0, NOBODY, build_half_raised,
     PUTS " open subscribe remove attach sweep raise give_back"},
    {"half_raised_lagging", STREAM, SMALL_RING, 0, NOBODY, build_half_raised_lagging,
     PUTS " get get_batch view open subscribe remove attach sweep raise skip look"},
    {"stale_floor", STREAM, SMALL_RING, 0, NOBODY, build_stale_floor,
     PUTS " reserve get open join remove subscribe unsubscribe raise sweep attach"},
    {"stale_group", STREAM, SMALL_RING, 0, NOBODY, build_stale_group,
     "get get_batch view skip track put put_batch open_after remove sweep shutdown_now"},
    {"stale_stream", STREAM, SMALL_RING, 0, NOBODY, build_stale_stream,
     "put put_batch put_mixed put_block get get_more follow open open_after remove_second subscribe register "
     "finish_writing raise sweep attach shutdown shutdown_now look"},
    {"outlived_stream", STREAM, SMALL_RING, 0, NOBODY, build_outlived_stream,
     "put put_batch put_block get follow open subscribe register raise sweep attach"},
    {"half_put_stream", STREAM, SMALL_RING, 0, NOBODY, build_half_put_stream,
     "put put_batch put_block get register sweep"},
    {"pinned", STREAM, SMALL_RING, 0, NOBODY, build_pinned,
     PUTS " raise sweep attach give_back open remove view"},
    {"viewed", STREAM, SMALL_RING, 0, NOBODY, build_viewed,
     PUTS " raise sweep attach remove trim_pool"},
    {"hoarded_stream", STREAM, SMALL_RING, 0, NOBODY, build_hoarded, "put_block put_large sweep"},
    {"written", STREAM, SMALL_RING, 0, NOBODY, build_written,
     "get get_batch put put_block register finish_writing sweep shutdown"},
    {"all_written", STREAM, SMALL_RING, 0, NOBODY, build_all_written,
     "get put register finish_writing attach open subscribe shutdown"},
    {"writing", STREAM, SMALL_RING, 0, NOBODY, build_writing,
     "get put register finish_writing remove attach sweep shutdown"},
    {"ended", STREAM, SMALL_RING, 0, NOBODY, build_ended,
     "put put_block get get_batch follow register open remove shutdown shutdown_now"},
    {"consumer_asleep", STREAM, SMALL_RING, 0, FOR_ITEM, build_group,
     PUTS " commit finish_writing remove shutdown shutdown_now open attach close"},
    {"follower_asleep", STREAM, SMALL_RING, 0, FOR_ITEM, build_follower_asleep,
     "get get_batch get_more finish close_reader skip remove_second put shutdown sweep"},
    {"producer_asleep", STREAM, SMALL_RING, 0, FOR_ROOM, build_producer_asleep,
     "get get_batch skip remove sweep raise shutdown"},
    {"held_asleep", STREAM, SMALL_RING, 0, FOR_ROOM, build_held_full,
     "open open_next get_subscribed unsubscribe shutdown sweep"},
    {"stream_batch_asleep", STREAM, SMALL_RING, 0, FOR_BATCH_ROOM, build_producer_asleep,
     "get get_batch skip remove sweep"},
};

#endif
