//go:build unix

package backing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// RedisSentinelConfig says what to start. The zero value is one master with two
// replicas and three Sentinels.
type RedisSentinelConfig struct {
	// Replicas is the number of copies beside the master; 0 means 2.
	Replicas int
	// Password is what clients of the servers must say; empty for none. Their
	// Sentinels need none.
	Password string
	// DownAfter is how long a master has to be silent; 0 means half a second.
	DownAfter time.Duration
	// Settings are further lines of each server's redis.conf.
	Settings []string
}

// RedisSentinel is a master with replicas, watched by three Sentinels that make
// a replica the master when the master is gone.
type RedisSentinel struct {
	// Master is the name of the master at the Sentinels.
	Master string
	// Addrs are the addresses of the Sentinels.
	Addrs []string
	// Servers are the redis-servers. The first was the master at the start.
	Servers []*Redis
	// Sentinels are the processes that watch.
	Sentinels []*Redis
}

const (
	sentinels = 3
	// quorum is how many Sentinels have to miss a master.
	quorum = 2
	// downAfter is how long a master has to be silent, if nobody says otherwise.
	downAfter = 500 * time.Millisecond
	// failoverTimeout is how long Sentinels wait before they try again.
	failoverTimeout = 3 * time.Second
)

// StartRedisSentinel starts servers and Sentinels and waits until the replicas
// have their copies and the Sentinels know each other.
func StartRedisSentinel(ctx context.Context, c RedisSentinelConfig) (*RedisSentinel, error) {
	s := &RedisSentinel{Master: "gatehouse"}
	if err := s.start(ctx, c); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *RedisSentinel) start(ctx context.Context, c RedisSentinelConfig) error {
	if c.Replicas == 0 {
		c.Replicas = 2
	}
	if c.DownAfter == 0 {
		c.DownAfter = downAfter
	}
	for range c.Replicas + 1 {
		settings := c.Settings
		if len(s.Servers) > 0 {
			settings = append([]string{replicaOf(s.Servers[0])}, settings...)
		}
		r, err := StartRedis(ctx, RedisConfig{Password: c.Password, Settings: settings})
		if err != nil {
			return err
		}
		s.Servers = append(s.Servers, r)
	}
	masterHost, masterPort, err := net.SplitHostPort(s.Servers[0].Addr)
	if err != nil {
		return err
	}
	settings := []string{
		fmt.Sprintf("sentinel monitor %s %s %s %d", s.Master, masterHost, masterPort, quorum),
		fmt.Sprintf("sentinel down-after-milliseconds %s %d", s.Master, c.DownAfter.Milliseconds()),
		fmt.Sprintf("sentinel failover-timeout %s %d", s.Master, failoverTimeout.Milliseconds()),
	}
	if c.Password != "" {
		settings = append(settings, fmt.Sprintf("sentinel auth-pass %s %q", s.Master, c.Password))
	}
	for range sentinels {
		r, err := startRedis(ctx, RedisConfig{Settings: settings}, "+monitor master", "--sentinel")
		if err != nil {
			return err
		}
		s.Sentinels, s.Addrs = append(s.Sentinels, r), append(s.Addrs, r.Addr)
	}
	return s.settle(ctx, c.Replicas)
}

// settle waits until a failover would succeed.
func (s *RedisSentinel) settle(ctx context.Context, replicas int) error {
	if err := s.Servers[0].Copied(ctx, replicas); err != nil {
		return err
	}
	for _, r := range s.Sentinels {
		err := r.until(ctx, func(answer any) bool {
			known := fieldsOf(answer)
			return known["num-slaves"] == fmt.Sprint(replicas) && known["num-other-sentinels"] == fmt.Sprint(sentinels-1)
		}, "SENTINEL", "MASTER", s.Master)
		if err != nil {
			return err
		}
	}
	return nil
}

// Current returns the server that the Sentinels call the master.
func (s *RedisSentinel) Current(ctx context.Context) (*Redis, error) {
	answer, err := s.Sentinels[0].Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.Master)
	if err != nil {
		return nil, err
	}
	if parts, ok := answer.([]any); ok && len(parts) == 2 {
		for _, r := range s.Servers {
			if r.Addr == net.JoinHostPort(fmt.Sprint(parts[0]), fmt.Sprint(parts[1])) {
				return r, nil
			}
		}
	}
	return nil, fmt.Errorf("the Sentinel names the master %v", answer)
}

// Failover waits until the Sentinels have made another server than old the
// master. The caller has ended old, or made it hang.
func (s *RedisSentinel) Failover(ctx context.Context, old *Redis) (*Redis, error) {
	for _, r := range s.Sentinels {
		if err := r.until(ctx, func(any) bool {
			now, err := s.Current(ctx)
			return err == nil && now != old
		}, "PING"); err != nil {
			return nil, err
		}
	}
	now, err := s.Current(ctx)
	if err != nil {
		return nil, err
	}
	return now, now.until(ctx, says("role:master"), "INFO", "replication")
}

// Close ends all servers.
func (s *RedisSentinel) Close() error { return errors.Join(closing(s.Sentinels), closing(s.Servers)) }

// replicaOf is the setting of a copy of master.
func replicaOf(master *Redis) string {
	return "replicaof " + strings.Replace(master.Addr, ":", " ", 1)
}

// StartReplica starts a copy of r and waits until it has the data.
func (r *Redis) StartReplica(ctx context.Context) (*Redis, error) {
	copied, err := StartRedis(ctx, RedisConfig{Password: r.Password, Settings: []string{replicaOf(r)}})
	if err != nil {
		return nil, err
	}
	if err := copied.until(ctx, says("master_link_status:up"), "INFO", "replication"); err != nil {
		return nil, errors.Join(err, copied.Close())
	}
	return copied, nil
}

// Copied waits until n replicas have acknowledged all that r has written. A
// replica is online before it has: it answers only once it has written down its
// first copy.
func (r *Redis) Copied(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	if _, err := r.Do(ctx, "FUNCTION", "FLUSH"); err != nil { // something to acknowledge; there are no functions
		return err
	}
	return r.until(ctx, func(answer any) bool {
		text, _ := answer.(string)
		_, written, _ := strings.Cut(text, "master_repl_offset:")
		written, _, _ = strings.Cut(written, "\r\n")
		return written != "0" && strings.Count(text, "state=online,offset="+written+",") >= n
	}, "INFO", "replication")
}

// fieldsOf reads an answer that lists names and values in turn.
func fieldsOf(answer any) map[string]string {
	fields := map[string]string{}
	parts, _ := answer.([]any)
	for i := 0; i+1 < len(parts); i += 2 {
		fields[fmt.Sprint(parts[i])] = fmt.Sprint(parts[i+1])
	}
	return fields
}

// RedisClusterConfig says what to start. The zero value is three masters.
type RedisClusterConfig struct {
	// Masters is the number of nodes that share the keys; 0 means 3.
	Masters int
	// Replicas is the number of copies of each master.
	Replicas int
	// Settings are further lines of each node's redis.conf.
	Settings []string
}

// RedisCluster is a Redis Cluster.
type RedisCluster struct {
	// Addrs are the addresses of all nodes.
	Addrs []string
	// Masters are the nodes that were masters at the start.
	Masters []*Redis
	// Replicas are their copies, those of the first master first.
	Replicas []*Redis
}

const (
	slots = 16384 // of a Redis Cluster
	// nodeTimeout is how long a node has to be silent.
	nodeTimeout = time.Second
)

// StartRedisCluster starts the nodes and waits until each knows who has which
// keys.
func StartRedisCluster(ctx context.Context, c RedisClusterConfig) (*RedisCluster, error) {
	if c.Masters == 0 {
		c.Masters = 3
	}
	s := new(RedisCluster)
	if err := s.start(ctx, c); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *RedisCluster) start(ctx context.Context, c RedisClusterConfig) error {
	for i := range c.Masters * (1 + c.Replicas) {
		r, err := startNode(ctx, c.Settings)
		if err != nil {
			return err
		}
		if i < c.Masters {
			s.Masters = append(s.Masters, r)
		} else {
			s.Replicas = append(s.Replicas, r)
		}
		s.Addrs = append(s.Addrs, r.Addr)
	}
	for i, r := range s.Masters {
		first, last := slots*i/c.Masters, slots*(i+1)/c.Masters-1
		if err := r.all(ctx,
			[]string{"CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i + 1)},
			[]string{"CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(first), fmt.Sprint(last)}); err != nil {
			return err
		}
	}
	if err := s.meet(ctx); err != nil {
		return err
	}
	for i, r := range s.Replicas {
		if err := s.follow(ctx, r, s.Masters[i/c.Replicas]); err != nil {
			return err
		}
	}
	for _, r := range s.Masters {
		if err := errors.Join(r.until(ctx, says("cluster_state:ok"), "CLUSTER", "INFO"), r.Copied(ctx, c.Replicas)); err != nil {
			return err
		}
	}
	return nil
}

// startNode starts one node. Its second port is for the other nodes.
func startNode(ctx context.Context, settings []string) (*Redis, error) {
	var failed error
	for range portTries {
		ports, err := freePorts(2)
		if err != nil {
			return nil, err
		}
		r, err := StartRedis(ctx, RedisConfig{Port: ports[0], Settings: append([]string{
			"cluster-enabled yes", "cluster-port " + ports[1], fmt.Sprintf("cluster-node-timeout %d", nodeTimeout.Milliseconds()),
		}, settings...)})
		if err == nil || !strings.Contains(err.Error(), "in use") {
			return r, err
		}
		failed = err
	}
	return nil, failed
}

// meet tells the nodes of each other.
func (s *RedisCluster) meet(ctx context.Context) error {
	first := s.Masters[0]
	for _, r := range s.nodes()[1:] {
		bus, err := r.Do(ctx, "CONFIG", "GET", "cluster-port")
		if err != nil {
			return err
		}
		at, port, _ := strings.Cut(r.Addr, ":")
		if _, err := first.Do(ctx, "CLUSTER", "MEET", at, port, fieldsOf(bus)["cluster-port"]); err != nil {
			return err
		}
	}
	for _, r := range s.nodes() {
		if err := r.until(ctx, says(fmt.Sprintf("cluster_known_nodes:%d\r", len(s.nodes()))), "CLUSTER", "INFO"); err != nil {
			return err
		}
	}
	return nil
}

// follow makes r a copy of master.
func (s *RedisCluster) follow(ctx context.Context, r, master *Redis) error {
	id, err := master.Do(ctx, "CLUSTER", "MYID")
	if err != nil {
		return err
	}
	name, _ := id.(string)
	if err := r.until(ctx, says(name+" "), "CLUSTER", "NODES"); err != nil {
		return err
	}
	return r.until(ctx, says("OK"), "CLUSTER", "REPLICATE", name)
}

// all sends commands until one fails.
func (r *Redis) all(ctx context.Context, commands ...[]string) error {
	for _, args := range commands {
		if _, err := r.Do(ctx, args...); err != nil {
			return fmt.Errorf("redis at %s, %s: %w", r.Addr, strings.Join(args, " "), err)
		}
	}
	return nil
}

func (s *RedisCluster) nodes() []*Redis {
	return append(append([]*Redis(nil), s.Masters...), s.Replicas...)
}

// Close ends all nodes.
func (s *RedisCluster) Close() error { return closing(s.nodes()) }
