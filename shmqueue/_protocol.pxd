"""The protocol's C side as Cython sees it: names only, the compiler owns the offsets."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "_native/joining.h" nogil:
    ctypedef struct shmq_end:
        uint64_t owner
        uint64_t sequence
        uint32_t state

    ctypedef struct shmq_growth:
        uint32_t region
        uint32_t is_refused
        uint64_t bytes

    ctypedef struct shmq_views:
        pass

    ctypedef struct shmq_seat:
        uint64_t generation
        uint32_t pid

    ctypedef struct shmq_block:
        uint64_t state
        uint64_t sequence
        uint64_t slot_position

    ctypedef struct shmq_group:
        uint64_t after
        uint64_t subscriber
        uint64_t keep_ns
        uint64_t joined_sequence
        uint64_t opened_ns
        uint64_t blocked_full_ns
        uint32_t policy
        uint32_t name_bytes
        char name[64]

    ctypedef struct shmq_hold:
        uint64_t tag
        uint64_t sequence
        uint64_t group

    ctypedef struct shmq_slot:
        pass

    ctypedef struct shmq_stream:
        uint64_t open
        shmq_group *groups
        shmq_hold *holds
        uint64_t *writers

    ctypedef struct shmq_reader:
        uint64_t epoch
        uint32_t group
        uint32_t state
        uint32_t takes_more
        uint32_t pinner

    ctypedef struct shmq_view:
        shmq_stream *stream
        uint8_t *base
        uint64_t mapped_bytes
        uint64_t capacity
        uint64_t item_size
        uint64_t slot_payload_bytes
        uint64_t pool_limit_bytes
        shmq_end *ends
        shmq_seat *seats
        shmq_block *blocks
        uint64_t slots_bytes
        uint32_t region_count
        uint32_t max_seats
        uint32_t known_views
        int64_t allowance_bytes
        shmq_views *own_views
        uint8_t *lent_pool
        uint64_t view_limit_bytes
        uint32_t lends_no_more
        void *anchor
        uint64_t epoch
        int fd
        int poll_fd
        uint64_t poll_inode
        uint64_t device
        uint64_t inode
        uint64_t spin_ns

    ctypedef struct shmq_record:
        const void *data
        uint32_t length
        uint16_t kind
        uint16_t flags
        uint64_t item_bytes

    ctypedef struct shmq_taken:
        uint64_t offset
        uint64_t length
        uint32_t kind
        uint32_t block

    ctypedef struct shmq_block_ref:
        uint32_t block
        uint32_t reserved
        uint64_t length

    enum: SHMQ_NO_BLOCK
    enum: SHMQ_SLOT_IN_BLOCK
    enum: SHMQ_OK
    enum: SHMQ_FULL
    enum: SHMQ_EMPTY
    enum: SHMQ_CORRUPT
    enum: SHMQ_NEED
    enum: SHMQ_GONE
    enum: SHMQ_NO_PINNER

    uint64_t SHMQ_NO_DEADLINE

    ctypedef struct shmq_waiter:
        uint32_t growth_is_refused
        uint64_t started_ns
        shmq_reader *reader

    ctypedef struct shmq_handle:
        uint32_t closed
        uint64_t poll_ns

    const shmq_handle shmq_no_handle
    uint32_t SHMQ_WAIT_BLOCK
    uint32_t SHMQ_WAIT_SPIN
    uint32_t SHMQ_WAIT_YIELD
    void shmq_set_closed(shmq_handle *)
    bint shmq_is_closed(const shmq_handle *)
    void shmq_set_wait(shmq_handle *, uint32_t strategy, uint64_t poll_ns)
    uint32_t shmq_wait_strategy(const shmq_handle *)
    bint shmq_is_shut(const shmq_view *)
    bint shmq_is_polled(const shmq_view *)
    bint shmq_is_to_trim(const shmq_view *)
    uint64_t shmq_asked_bytes(const shmq_view *)

    uint64_t now_ns()

    ctypedef struct shmq_header:
        uint32_t layout_version
        uint8_t uuid[16]
        uint64_t segment_bytes
        uint64_t capacity
        uint64_t item_size
        uint64_t ends_offset
        uint64_t classes_offset
        uint64_t seats_offset
        uint64_t slots_offset
        uint64_t views_offset
        uint64_t blocks_offset
        uint64_t pool_offset
        uint64_t pool_limit_bytes
        uint32_t region_count
        uint32_t max_seats
        uint32_t serializer
        char serializer_name[64]
        uint64_t created_realtime_ns
        uint32_t seats_granted
        uint64_t stream_offset
        uint32_t ungrouped
        uint32_t type_bytes
        uint32_t type_offset

    ctypedef struct shmq_field:
        const char *structure
        const char *field
        uint32_t offset
        uint32_t size
        const char *meaning

    const shmq_field shmq_fields[1]
    enum: SHMQ_FIELD_COUNT
    enum: SHMQ_BUSY
    enum: SHMQ_TIMEOUT
    enum: SHMQ_INTERRUPTED
    enum: SHMQ_CLOSED
    enum: SHMQ_SHUTDOWN
    enum: SHMQ_ASK
    enum: SHMQ_NO_MEMORY
    enum: SHMQ_FOREIGN
    enum: SHMQ_TRUNCATED
    enum: SHMQ_VERSION
    enum: SHMQ_WRONG_BYTE_ORDER
    enum: SHMQ_NO_SEAT
    enum: SHMQ_SYSTEM
    enum: SHMQ_LAYOUT_VERSION
    enum: SHMQ_END_TAIL
    enum: SHMQ_END_POOL
    enum: SHMQ_END_DONE
    enum: SHMQ_END_HEAD0
    enum: SHMQ_END_OPEN
    enum: SHMQ_END_SHUT
    enum: SHMQ_END_WRITTEN

    enum: SHMQ_POLICY_BLOCK
    enum: SHMQ_POLICY_LAG
    enum: SHMQ_POLICY_DROP
    enum: SHMQ_START_NEXT
    enum: SHMQ_START_OLDEST
    enum: SHMQ_START_AT
    enum: SHMQ_MAX_GROUPS
    enum: SHMQ_MAX_HOLDS
    enum: SHMQ_MAX_WRITERS
    enum: SHMQ_MAX_PINNERS
    enum: SHMQ_GROUP_NAME

    ctypedef struct shmq_group_wish:
        const char *name
        uint64_t name_bytes
        uint64_t after
        uint32_t after_states[64]
        uint64_t keep_ns
        uint64_t start
        uint32_t policy
        uint32_t is_subscriber

    ctypedef struct shmq_join_wish:
        shmq_group_wish group
        uint32_t start
        uint32_t may_open
        uint32_t index
        uint32_t is_new
        uint32_t state
        uint64_t oldest
        uint64_t newest

    ctypedef struct shmq_group_seen:
        shmq_group group
        uint64_t sequence
        uint64_t gate
        uint64_t lapped
        uint64_t finished
        uint64_t oldest_put_ns
        uint32_t state
        uint32_t gates_floor

    int shmq_make_room_in_stream(shmq_view *, uint64_t count, shmq_end **)
    int shmq_join_group(shmq_view *, shmq_join_wish *, shmq_waiter *)
    int shmq_leave_group(shmq_view *, uint32_t group, uint32_t state, shmq_waiter *)
    int shmq_track_group(shmq_view *, shmq_reader *, shmq_waiter *)
    uint64_t shmq_finished_by_the_living(const shmq_view *, uint32_t group)
    int shmq_skip(shmq_view *, shmq_reader *, uint64_t keep, uint64_t *skipped, shmq_waiter *)
    int shmq_begin_writing(shmq_view *, uint32_t *writer, shmq_waiter *)
    void shmq_finish_writing(shmq_view *, uint32_t writer)
    void shmq_stream_ring_all(const shmq_view *)
    bint shmq_group_look(const shmq_view *, uint32_t group, shmq_group_seen *)
    void shmq_stream_bury(const shmq_view *)
    uint32_t shmq_holds_granted(const shmq_view *)
    uint64_t shmq_groups_open(const shmq_view *)
    shmq_end *shmq_group_head(const shmq_view *, uint32_t group)
    uint64_t shmq_group_identity(const shmq_view *, uint32_t group)
    uint64_t shmq_first_kept(const shmq_view *, uint32_t group, uint64_t sequence, uint64_t needed)
    uint64_t shmq_begin_after_lapse(const shmq_view *, uint64_t sequence)
    uint8_t *shmq_slot_at(const shmq_view *, uint64_t sequence)
    bint shmq_all_written(const shmq_view *, uint64_t *begun)
    bint shmq_block_is_pinned(const shmq_view *, uint32_t index)
    void shmq_reader_begin(shmq_reader *, shmq_view *, uint32_t group, uint32_t state)
    void shmq_reader_finish(const shmq_view *, shmq_reader *)
    void shmq_reader_end(const shmq_view *, shmq_reader *)
    uint32_t shmq_pinner_take(const shmq_view *)
    void shmq_pinner_leave(const shmq_view *, uint32_t pinner)
    void shmq_block_unpin(const shmq_view *, uint32_t index, uint32_t pinner)

    uint64_t SHMQ_UNBOUNDED
    enum: SHMQ_FIRST_BACKED
    int shmq_plan(shmq_header *, uint64_t capacity, uint64_t item_size, uint32_t max_seats,
                  uint64_t pool_limit_bytes, uint32_t region_count, bint is_stream)
    uint64_t shmq_region_start(uint32_t index)
    int shmq_header_check(const shmq_header *, uint64_t file_bytes)
    void shmq_view_set(shmq_view *, uint8_t *base, const shmq_header *)
    void shmq_view_forget_cursors(shmq_view *)
    int shmq_fd_is_ours(const shmq_view *)
    uint64_t shmq_epoch_begin()
    bint shmq_view_is_mine(const shmq_view *)
    void shmq_view_set_mine(shmq_view *, uint64_t epoch)
    int shmq_seat_take(shmq_view *, int fd)
    void shmq_seat_leave(shmq_view *)
    int shmq_seat_is_held(const shmq_view *, uint32_t seat)
    bint shmq_file_enter(int fd)
    void shmq_file_entered(int fd)
    bint shmq_file_lock_out(int fd)
    bint shmq_file_is_held(int fd)
    bint shmq_seat_forget(const shmq_view *, int fd, uint32_t seat)
    uint64_t SHMQ_TAG
    uint64_t shmq_tag(uint32_t seat, uint64_t generation)
    uint32_t shmq_tag_seat(uint64_t word)
    bint shmq_tag_is_dead(const shmq_view *, uint64_t word)
    uint32_t shmq_block_count(const shmq_view *)
    uint64_t shmq_block_backed_bytes(const shmq_view *, uint32_t index)
    bint shmq_block_is_referred(const shmq_view *, uint32_t index)
    uint64_t shmq_slot_reference_bytes()
    int shmq_pool_sweep(const shmq_view *)
    uint32_t shmq_seats_granted(const shmq_view *)
    void shmq_sweep_after_the_dead(shmq_view *)
    void shmq_ring_trim(shmq_view *)
    void shmq_end_ring_all(shmq_end *)
    void shmq_end_shut(shmq_end *)
    void shmq_end_release(shmq_end *)
    bint shmq_poll_fd_is_eventfd(const shmq_view *)
    void shmq_allow(shmq_view *, uint64_t bytes)
    void shmq_poll_settle(const shmq_view *)
    bint shmq_poll_is_settled(const shmq_view *)
    bint shmq_tasks_done(const shmq_view *, uint64_t count)
    uint64_t shmq_unfinished(const shmq_view *)
    int shmq_join(shmq_view *, shmq_waiter *)
    ctypedef enum shmq_deed:
        SHMQ_DO_SHUT
        SHMQ_DO_POLL
        SHMQ_DO_SETTLE

    int shmq_end_do(shmq_view *, shmq_end *, shmq_deed, shmq_waiter *)
    bint shmq_has_room(const shmq_view *, uint64_t count)
    int shmq_try_put(shmq_view *, const shmq_record *, uint64_t count, shmq_growth *)
    int shmq_try_take_of_group(shmq_view *, shmq_reader *, uint64_t max_items, uint8_t *buffer,
                               uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *,
                               uint64_t *count)
    int shmq_try_take_from(shmq_view *, shmq_reader *, uint64_t max_items, uint8_t *buffer,
                           uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *,
                           uint64_t *count)
    int shmq_try_take(shmq_view *, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
                      uint64_t block_bytes, shmq_taken *, uint64_t *count)
    void shmq_waiter_init(shmq_waiter *, uint64_t deadline_ns, uint64_t count,
                          const shmq_handle *handle)
    void shmq_waiter_end(const shmq_view *, shmq_waiter *, int gave_up)
    int shmq_put(shmq_view *, const shmq_record *, uint64_t count, shmq_waiter *)
    int shmq_await_room(shmq_view *, shmq_waiter *)
    int shmq_take(shmq_view *, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
                  uint64_t block_bytes, shmq_taken *, uint64_t *count, shmq_waiter *)
    int shmq_block_take(shmq_view *, uint64_t size, uint32_t *index, shmq_waiter *)
    uint8_t *shmq_block_bytes(const shmq_view *, uint32_t index, uint64_t size)
    void shmq_block_free(const shmq_view *, uint32_t index)
    bint shmq_block_is_held(const shmq_view *, uint32_t index)
    uint64_t shmq_pool_trim(const shmq_view *, uint64_t keep_bytes)
    bint shmq_pool_is_to_settle(const shmq_view *, uint64_t item_bytes)
    void shmq_pool_settle(shmq_view *, uint64_t item_bytes)
    void shmq_pool_give_back(shmq_view *)
    void copy_in(void *, const void *, size_t)
    void copy_out(void *, const void *, size_t)

cdef extern from "_native/format.h" nogil:
    void shmq_format(uint8_t *base, const shmq_header *planned)

cdef extern from "_native/snapshot.h" nogil:
    ctypedef struct shmq_counters:
        uint64_t items_put
        uint64_t bytes_put
        uint64_t blocked_full_count
        uint64_t blocked_full_ns
        uint64_t items_got
        uint64_t bytes_got
        uint64_t blocked_empty_count
        uint64_t blocked_empty_ns
        uint64_t takeovers
        uint64_t items_viewed
        uint64_t items_copied

    ctypedef struct shmq_snapshot:
        uint64_t tail
        uint64_t head
        uint64_t high_water_mark
        uint64_t oldest_put_ns
        uint64_t pool_bytes
        uint64_t pool_free_bytes
        uint64_t view_bytes
        shmq_counters totals

    ctypedef struct shmq_seat_snapshot:
        shmq_counters own
        uint64_t attached_ns
        uint64_t active_ns
        uint64_t view_bytes
        uint32_t pid

    void shmq_snapshot_ends(const shmq_view *, uint64_t *head, uint64_t *tail)
    void shmq_snapshot_take(const shmq_view *, shmq_snapshot *)
    bint shmq_snapshot_seat(const shmq_view *, uint32_t index, shmq_seat_snapshot *)
    void shmq_views_begin(shmq_view *, bint reserve)
